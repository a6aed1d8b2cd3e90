"""From a fresh clone to a working environment: `python3 scripts/bootstrap.py [--dev]`. Uses the standard library alone.

Safe to run again: what is done already takes no time. Written for any Python 3, so that an old one can say so.
"""

import argparse
import glob
import hashlib
import os
import shutil
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, ".venv")
PYTHON = os.path.join(VENV, "bin", "python")
OLDEST = (3, 11)
TORCH = "torch==2.13.0"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
MAC_BROWSERS = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)


def main() -> None:
    """Make the environment; with --dev also what contributors need, with --browser a Chromium for the tests."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dev", action="store_true", help="install what contributors need as well")
    parser.add_argument("--browser", action="store_true", help="find or install a Chromium for the browser tests")
    arguments = parser.parse_args()
    require_python()
    files = ["requirements.txt", "constraints.txt"] + (["requirements-dev.txt"] if arguments.dev else [])
    stamp = os.path.join(VENV, "installed-" + fingerprint(files))
    if not os.path.exists(stamp):
        install(files, stamp)
    if arguments.browser:
        install_browser()


def require_python() -> None:
    """Go on with a Python that is new enough, or say what to install."""
    if sys.version_info >= OLDEST:
        return
    for minor in (13, 12, 11):
        newer = shutil.which("python3.%d" % minor)
        if newer:
            os.execv(newer, [newer, os.path.abspath(__file__)] + sys.argv[1:])
    give_up(
        "Python %d.%d is too old: the studio needs %d.%d or newer." % (sys.version_info[:2] + OLDEST),
        "Install one (for example `brew install python@3.12` or `apt install python3.12-venv`), then run this again.",
    )


def install(files: "list[str]", stamp: str) -> None:
    """Make .venv and install the pinned packages, torch first so that nothing else pulls another build of it."""
    began = time.time()
    if not os.path.exists(PYTHON):
        say("1/3  Making a virtual environment in .venv")
        made = subprocess.run([sys.executable, "-m", "venv", VENV])
        if made.returncode:
            shutil.rmtree(VENV, ignore_errors=True)
            give_up("Python could not make a virtual environment.", "On Debian and Ubuntu: apt install python3-venv.")
    say("2/3  Installing %s (the largest part; a minute or more)" % TORCH)
    pip("install", TORCH, "-c", os.path.join(ROOT, "constraints.txt"))
    say("3/3  Installing the other packages")
    pip("install", "-r", os.path.join(ROOT, files[-1] if "dev" in files[-1] else files[0]))
    for old in glob.glob(os.path.join(VENV, "installed-*")):
        os.remove(old)
    with open(stamp, "w") as file:
        file.write("\n".join(files))
    say("Installed in %d s." % (time.time() - began))


def pip(*arguments: str) -> None:
    """Run pip in the environment, quietly but for a progress bar and errors."""
    command = [PYTHON, "-m", "pip", "--disable-pip-version-check", *arguments, "--quiet"]
    if subprocess.run(command, stdin=subprocess.DEVNULL).returncode:
        give_up("pip could not install the packages (see above).", "Check the network and the disk, then run it again.")


def install_browser() -> None:
    """Make sure that a Chromium is there: the user's, Debian's, or the one that Playwright brings."""
    if find_browser():
        return
    say("Installing Chromium for the browser tests")
    if shutil.which("apt-get") and os.geteuid() == 0:
        environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
        packages = ["chromium", "fonts-noto-cjk"]
        for command in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
            subprocess.run(["apt-get", "-qq", *command], env=environment, stdout=subprocess.DEVNULL)
    if not find_browser():
        subprocess.run([PYTHON, "-m", "playwright", "install", "chromium"], stdin=subprocess.DEVNULL)
    # Whether it worked is told by the browser tests themselves, in a sentence.


def find_browser() -> "str | None":
    """The path of a Chromium or Chrome, or None."""
    found = [shutil.which(name) for name in BROWSERS] + [path for path in MAC_BROWSERS if os.path.exists(path)]
    brought = glob.glob(os.path.expanduser("~/.cache/ms-playwright/chromium-*/chrome-linux*/chrome"))
    brought += glob.glob(os.path.expanduser("~/Library/Caches/ms-playwright/chromium-*/*/*.app/Contents/MacOS/*"))
    return next((path for path in found + sorted(brought) if path), None)


def fingerprint(files: "list[str]") -> str:
    """Changes whenever a list of packages, or the Python, does."""
    digest = hashlib.sha256(sys.version.encode())
    for name in files:
        with open(os.path.join(ROOT, name), "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()[:16]


def say(text: str) -> None:
    """Tell a step."""
    print(text, flush=True)


def give_up(message: str, hint: str) -> None:
    """End with a sentence."""
    sys.exit("\n%s\n%s" % (message, hint))


if __name__ == "__main__":
    main()
