"""Many hosts from one inventory: what each is to have, what it has, and the steps in between.

`inventory`, `facts`, `release`, `plan` and `readiness` decide, and touch nothing; `ssh`, `bundle`
and `rollout` move. On the hosts one script works, `deploy/install.sh`, and `keyring` makes keys.
"""
