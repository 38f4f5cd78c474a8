"""The performance lab: ``zqueue bench`` measures this installation on this machine.

Theory of operation. Speed moves by half within minutes on a shared machine, so a figure alone
says little. What is compared is done in turn, in alternating order, in one run (`measure`); every
figure keeps the value of each run, and says of itself whether it is noisy. *Components* measure
(`components/`), each against the systems it needs: this process, a broker and a pool (`ours`), or
raw pyzmq written by hand (`floor`). What they find is plain data (`result`), and the report says
nothing that is not in that data (`findings`, `report`).
"""
