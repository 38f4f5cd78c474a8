"""Tasks that leave things behind, and an app that does odd things when it is imported."""

import atexit
import logging
import os
import signal
import subprocess
import threading
import time

import zqueue

app = zqueue.App(retries=0)


@app.task
def pid():
    return os.getpid()


@app.task(queue="poison")
def exit_at_once(code):
    os._exit(code)


@app.task(timeout=0.5)
def wait_for_a_child(path):
    wait(path)


@app.task
def die_with_a_child(path):
    child = subprocess.Popen(["sleep", "600"])
    write(path, child.pid)
    os.kill(os.getpid(), signal.SIGKILL)


@app.task
def wait_for_long(path):
    wait(path)


def wait(path):
    child = subprocess.Popen(["sleep", "600"])
    write(path, child.pid)
    child.wait()


def write(path, number):
    with open(path + ".new", "w") as file:
        file.write(str(number))
    os.rename(path + ".new", path)


@app.task
def interrupt_a_child():
    """How a child that gets SIGINT ends; negative: by that signal."""
    child = subprocess.Popen(["sleep", "600"])
    child.send_signal(signal.SIGINT)
    try:
        return child.wait(3)
    except subprocess.TimeoutExpired:
        child.kill()
        return "it went on"


@app.task
def leave_a_thread(path):
    atexit.register(write, path, 1)
    threading.Thread(target=time.sleep, args=(600,), name="left-behind").start()


@app.task
def say(text):
    logging.getLogger("shop").info(text)


@app.task
def grow(bytes_):
    grown.append(bytearray(b"x") * bytes_)
    return os.getpid()


grown = []
