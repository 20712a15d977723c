"""The private channel between the driver and the engine, in the hands of user code: only its own context may suffer."""

#% id: channel-garbage
#% says: writes noise into the channel
#% walls: engine
#% contained: error interpreter_died killed timeout
os.write(100, os.urandom(65536))
time.sleep(1)

#% id: channel-giant-frame
#% says: announces a frame of four gigabytes
#% walls: engine
#% contained: error interpreter_died killed timeout
os.write(100, struct.pack("<I", 0xFFFFFFFF) + b"x" * 1000)
time.sleep(1)

#% id: channel-half-frame
#% says: begins a frame and never ends it
#% walls: engine
#% contained: ok error interpreter_died killed timeout
#% limits: timeout_ms=2000
os.write(100, struct.pack("<I", 1 << 20) + b"{")

#% id: channel-forged-result
#% says: forges a result of another execution
#% walls: engine
#% contained: ok error interpreter_died killed timeout
body = b'{"type":"result","id":"exec_00000000000000000000000000","n":1,"data":{"text/plain":"forged"},"execution_count":1}'
os.write(100, struct.pack("<I", len(body)) + body)

#% id: channel-forged-end
#% says: claims to have ended, and goes on
#% walls: engine
#% contained: ok error interpreter_died killed timeout
body = b'{"type":"finished","id":"exec_00000000000000000000000000","status":"ok","execution_count":1}'
for _ in range(100):
    os.write(100, struct.pack("<I", len(body)) + body)

#% id: channel-unknown-type
#% says: sends a frame of a kind that does not exist
#% walls: engine
#% contained: error interpreter_died killed timeout
body = b'{"type":"make_me_root"}'
os.write(100, struct.pack("<I", len(body)) + body)
time.sleep(1)

#% id: channel-deep-json
#% says: nests JSON a hundred thousand deep
#% walls: engine
#% contained: error interpreter_died killed timeout
body = b'{"type":"display","data":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
sent = struct.pack("<I", len(body)) + body
while sent:
    sent = sent[os.write(100, sent):]
time.sleep(1)

#% id: channel-many-values
#% says: sends three million values in one frame
#% walls: engine
#% contained: error interpreter_died killed timeout
body = b'{"type":"ready","x":[' + b"0," * 3_000_000 + b"0]}"
sent = struct.pack("<I", len(body)) + body
while sent:
    sent = sent[os.write(100, sent):]
time.sleep(1)

#% id: channel-not-utf8
#% says: sends text that is none
#% walls: engine
#% contained: error interpreter_died killed timeout
body = b'{"type":"error","id":"x","n":1,"name":"\xff\xfe","message":"","traceback":""}'
os.write(100, struct.pack("<I", len(body)) + body)
time.sleep(1)

#% id: channel-flood
#% says: floods the channel with frames of others
#% walls: engine
#% contained: ok error interpreter_died killed timeout
#% limits: timeout_ms=2000
body = b'{"type":"display","id":"exec_00000000000000000000000000","n":1,"data":{"text/plain":"' + b"x" * 60000 + b'"}}'
sent = struct.pack("<I", len(body)) + body
until = time.monotonic() + 1.5
while time.monotonic() < until:
    rest = sent
    while rest:
        rest = rest[os.write(100, rest):]

#% id: channel-close
#% says: closes the channel
#% walls: engine
#% contained: ok error interpreter_died killed timeout
os.close(100)

#% id: channel-shutdown
#% says: shuts the channel down
#% walls: engine
#% contained: ok error interpreter_died killed timeout
socket.socket(fileno=os.dup(100)).shutdown(socket.SHUT_RDWR)

#% id: channel-never-read
#% says: takes the orders of the engine away from the driver
#% walls: engine
#% contained: ok error interpreter_died killed timeout
#% limits: timeout_ms=2000
import threading

threading.Thread(target=lambda: [os.read(100, 65536) for _ in range(100)], daemon=True).start()

#% id: channel-pass-descriptor
#% says: passes descriptors to the server until it has no more
#% walls: engine
#% contained: ok error interpreter_died killed timeout
#% limits: timeout_ms=2000
import array

with socket.socket(fileno=os.dup(100)) as channel:
    body = b'{"type":"ready"}'
    for _ in range(64):
        channel.sendmsg([struct.pack("<I", len(body)) + body],
                        [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2] * 60))])

#% id: channel-child
#% says: gives the channel to a child that outlives the interpreter
#% walls: engine
#% contained: ok error interpreter_died killed timeout
subprocess.Popen(["/bin/sh", "-c", "while echo noise >&100; do sleep 0.01; done"], pass_fds=[100])
time.sleep(0.5)

#% id: channel-ready-again
#% says: claims to be a fresh context
#% walls: engine
#% contained: ok error interpreter_died killed timeout
body = b'{"type":"ready"}'
for _ in range(1000):
    os.write(100, struct.pack("<I", len(body)) + body)
