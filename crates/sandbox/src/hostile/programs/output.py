"""What the host, a terminal, a browser or a model must bear to be shown."""

#% id: output-terminal
#% says: sends commands to the reader's terminal
#% walls: engine
#% contained: ok
print("\x1b]0;owned\x07\x1b[2J\x1bP+q544e\x1b\\\x9b31m")

#% id: output-not-utf8
#% says: prints bytes that are no text
#% walls: engine
#% contained: ok
sys.stdout.flush()
os.write(1, bytes(range(256)) * 64)

#% id: output-nul
#% says: prints nothing but NUL
#% walls: engine
#% contained: ok
sys.stdout.flush()
os.write(1, bytes(65536))

#% id: output-one-line
#% says: prints a line without an end
#% walls: limit output_bytes=33554432
#% contained: limit:output
print("x" * (4 << 20), end="")

#% id: output-many-displays
#% says: shows fifty thousand things
#% walls: engine
#% contained: ok error limit:output timeout
#% limits: timeout_ms=5000
from IPython.display import display

for number in range(50_000):
    display(number)

#% id: output-giant-display
#% says: shows one thing of thirty megabytes
#% walls: engine
#% contained: ok error limit:output
from IPython.display import HTML, display

display(HTML("x" * (30 << 20)))

#% id: output-deep-display
#% says: shows data nested ten thousand deep
#% walls: engine
#% contained: ok error
from IPython.display import JSON, display

deep = []
for _ in range(10_000):
    deep = [deep]
display({"application/json": deep}, raw=True)

#% id: output-fake-type
#% says: shows a script under a type of its own making
#% walls: engine
#% contained: ok error
from IPython.display import display

display({"text/html\r\nSet-Cookie: owned": "<script>alert(1)</script>", "../../etc/passwd": "x"}, raw=True)

#% id: output-broken-image
#% says: shows an image that is none
#% walls: engine
#% contained: ok error
from IPython.display import display

display({"image/png": "!!! not base64 !!!"}, raw=True)

#% id: output-hostile-repr
#% says: shows a value whose text never ends
#% walls: engine
#% contained: timeout error killed
#% limits: timeout_ms=1500
class Endless:
    def __repr__(self):
        while True:
            pass

Endless()

#% id: output-raising-repr
#% says: shows a value whose text ends the interpreter
#% walls: engine
#% contained: interpreter_died
class Deadly:
    def __repr__(self):
        os._exit(0)

Deadly()

#% id: output-giant-exception
#% says: raises an error of ten megabytes
#% walls: engine
#% contained: error
raise ValueError("x" * (10 << 20))

#% id: output-lying-exception
#% says: raises an error that cannot be told
#% walls: engine
#% contained: error
class Lie(Exception):
    def __str__(self):
        raise SystemExit
    __repr__ = __str__

raise Lie

#% id: output-endless-chain
#% says: raises an error with a thousand causes
#% walls: engine
#% contained: error
last = ValueError("first")
for number in range(1000):
    following = ValueError(str(number))
    following.__cause__ = last
    last = following
raise last

#% id: output-replaced-streams
#% says: replaces its streams by ones that lie
#% walls: engine
#% contained: ok error
class Stream:
    def write(self, text):
        return 1 << 40
    def flush(self):
        raise OSError("no")

sys.stdout = sys.stderr = sys.__stdout__ = Stream()
print("hello")

#% id: output-closed-pipes
#% says: closes its output
#% walls: engine
#% contained: ok error interpreter_died
os.close(1)
os.close(2)
