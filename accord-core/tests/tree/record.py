#!/usr/bin/env python3
"""Records what a real ZooKeeper answers to the cases of this folder.

    python3 accord-core/tests/tree/record.py [CASE...]

Starts a ZooKeeper (Debian's package `zookeeper`, or the jar that ZOOKEEPER_JAR names) on a free port
of the loopback interface with an empty directory for each file in cases/, runs its commands, and
writes its answers below them. `cargo test -p accord-core --test tree` replays the same commands
against the tree. The commands are documented in script.rs.

What differs between two runs is normalised: a zxid is the number of the command that it belongs
to, times are checked to be those of their zxids and left out, sessions have their names, and the
names of children, whose order ZooKeeper does not promise, are sorted.
"""
import glob, os, re, shutil, socket, struct, subprocess, sys, tempfile, time

HERE = os.path.dirname(os.path.abspath(__file__))
JARS = [os.environ.get("ZOOKEEPER_JAR", "/usr/share/java/zookeeper.jar"), "/usr/share/java/slf4j-simple.jar"]
SUPER = "super:D/InIHSb7yEEbrWz8b9l71RjZJU="
CREATE = {"create": 1, "create2": 15, "createContainer": 19, "createTTL": 21}
ACLS = {"open": "31:world:anyone", "read": "1:world:anyone"}
OWNERS = {0: "none", 1 << 63: "container"}


class Server:
    """A real server with an empty directory."""

    def __init__(self, properties):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.dir = tempfile.mkdtemp(prefix="record-")
        with open(f"{self.dir}/zoo.cfg", "w") as config:
            config.write(
                f"tickTime=2000\ndataDir={self.dir}/data\nclientPort={self.port}\n"
                "clientPortAddress=127.0.0.1\nadmin.enableServer=false\nextendedTypesEnabled=true\n"
                "authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider\n"
            )
        defined = ["extendedTypesEnabled=true", f"DigestAuthenticationProvider.superDigest={SUPER}"]
        command = ["java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.logFile=System.out"]
        command += [f"-Dzookeeper.{one}" for one in defined + properties]
        command += ["-cp", ":".join(JARS), "org.apache.zookeeper.server.quorum.QuorumPeerMain", f"{self.dir}/zoo.cfg"]
        self.log = open(f"{self.dir}/log", "wb")
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL)
        for _ in range(300):
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1) as probe:
                    probe.sendall(b"srvr")
                    if b"Mode" in probe.recv(4096):
                        return
            except OSError:
                pass
            time.sleep(0.1)
        raise SystemExit(open(f"{self.dir}/log").read())

    def stop(self):
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.dir)


def buffer(data):
    return struct.pack(">i", -1) if data is None else struct.pack(">i", len(data)) + data


class Reply:
    """Reads jute."""

    def __init__(self, data):
        self.data = data

    def take(self, form):
        size = struct.calcsize(form)
        values = struct.unpack(form, self.data[:size])
        self.data = self.data[size:]
        return values[0] if len(values) == 1 else values

    def buffer(self):
        length = self.take(">i")
        if length < 0:
            return None
        data, self.data = self.data[:length], self.data[length:]
        return data

    def vector(self, item):
        return [item() for _ in range(self.take(">i"))]


class Session:
    """One connection with a session of its own."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), 10)
        self.send(struct.pack(">iqiq", 0, 0, 30000, 0) + buffer(bytes(16)) + b"\0")
        reply = self.receive()
        _, _, self.id = reply.take(">iiq")
        self.xid = 0
        self.events = []

    def send(self, payload):
        self.socket.sendall(buffer(payload))

    def exactly(self, count):
        data = b""
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            if not more:
                raise EOFError("the server hung up")
            data += more
        return data

    def receive(self):
        return Reply(self.exactly(struct.unpack(">i", self.exactly(4))[0]))

    def call(self, kind, body, xid=None):
        """The zxid, error and rest of the reply; events that come before it are kept."""
        self.xid += 1
        xid = self.xid if xid is None else xid
        self.send(struct.pack(">ii", xid, kind) + body)
        while True:
            reply = self.receive()
            found, zxid, error = reply.take(">iqi")
            if found != -1:
                assert found == xid, (found, xid)
                return zxid, error, reply
            event, _ = reply.take(">ii")
            self.events.append((event, reply.buffer()))

    def take_events(self):
        events, self.events = self.events, []
        return events


def unescape(word):
    if word == "''":
        return b""
    return re.sub(rb"\\x(..)", lambda m: bytes([int(m[1], 16)]), word.encode())


def escape(data):
    if data is None:
        return "-"
    text = "".join(chr(b) if 33 <= b < 127 and b != 92 else f"\\x{b:02x}" for b in data)
    return text if text and text != "-" else (f"\\x2d" if text else "''")


def data_of(word):
    return None if word == "-" else unescape(word)


def acl_of(word):
    entries = [] if word == "none" else ACLS.get(word, word).split("|")
    body = struct.pack(">i", len(entries))
    for entry in entries:
        perms, scheme, name = entry.split(":", 2)
        body += struct.pack(">i", int(perms)) + buffer(unescape(scheme or "''")) + buffer(unescape(name or "''"))
    return body


def request(words):
    """The kind and body of a request."""
    name, path = words[0].rstrip("!"), buffer(unescape(words[1]))
    watch = b"\1" if words[0].endswith("!") else b"\0"
    if name in CREATE:
        body = path + buffer(data_of(words[2])) + acl_of(words[3]) + struct.pack(">i", int(words[4]))
        if name == "createTTL":
            body += struct.pack(">q", int(words[5]))
        return CREATE[name], body
    number = lambda at: struct.pack(">i", int(words[at]))
    if name == "delete":
        return 2, path + number(2)
    if name == "set":
        return 5, path + buffer(data_of(words[2])) + number(3)
    if name == "setacl":
        return 7, path + acl_of(words[2]) + number(3)
    if name == "check":
        return 13, path + number(2)
    if name == "watch":
        return 106, path + number(2)
    plain = {"exists": 3, "get": 4, "children": 8, "children2": 12}
    if name in plain:
        return plain[name], path + watch
    return {"getacl": 6, "ephemerals": 103, "count": 104}[name], path


class Recording:
    """One file of cases."""

    def __init__(self, server):
        self.server, self.sessions, self.names = server, {}, {}
        self.commands, self.zxids, self.times = 0, {0: 0}, {0: 0}

    def stat(self, reply):
        czxid, mzxid, ctime, mtime, version, cversion, aversion, owner, length, children, pzxid = reply.take(">qqqqiiiqiiq")
        for zxid, when in ((czxid, ctime), (mzxid, mtime)):
            assert self.times.setdefault(zxid, when) == when, "a time is that of its zxid"
        owner &= (1 << 64) - 1
        if owner >> 56 == 0xFF:
            owner = f"ttl:{owner & ((1 << 40) - 1)}"
        else:
            owner = OWNERS.get(owner) or self.names[owner]
        at = lambda zxid: f"@{self.zxids[zxid]}"
        return (f"czxid={at(czxid)} mzxid={at(mzxid)} pzxid={at(pzxid)} version={version} cversion={cversion} "
                f"aversion={aversion} owner={owner} length={length} children={children}")

    def result(self, kind, reply):
        """The body of a reply in words."""
        if kind == 1:
            return escape(reply.buffer())
        if kind in (15, 19, 21):
            return f"{escape(reply.buffer())} {self.stat(reply)}"
        if kind in (3, 5, 7):
            return self.stat(reply)
        if kind == 4:
            return f"{escape(reply.buffer())} {self.stat(reply)}"
        if kind in (8, 12, 103):
            names = " ".join(escape(name) for name in sorted(reply.vector(reply.buffer)))
            return f"[{names}]" + (f" {self.stat(reply)}" if kind == 12 else "")
        if kind == 6:
            entry = lambda: f"{reply.take('>i')}:{escape(reply.buffer())}:{escape(reply.buffer())}"
            return "|".join(reply.vector(entry)) + " " + self.stat(reply)
        if kind == 104:
            return str(reply.take(">i"))
        return ""

    def multi(self, reply):
        results = []
        while True:
            kind, done, error = reply.take(">i?i")
            if done:
                return results
            if kind == -1:
                results.append(f"err {reply.take('>i')}")
                assert error == int(results[-1][4:]) or error == -1
            else:
                results.append(f"ok {self.result(kind, reply)}".strip())

    def run(self, line):
        """The lines of the answer to one command."""
        name, *words = line.split()
        self.commands += 1
        if name == "open":
            session = Session(self.server.port)
            self.sessions[words[0]], self.names[session.id & ((1 << 64) - 1)] = session, words[0]
            self.write(Session.call(session, 11, b"", -2)[0])
            return []
        session = self.sessions[name]
        if words[0] == "auth":
            _, error, _ = session.call(100, struct.pack(">i", 0) + buffer(words[1].encode()) + buffer(unescape(words[2])), -4)
            return [f"= err {error}" if error else "= ok"]
        if words[0] == "close":
            zxid, error, _ = session.call(-11, b"")
            self.write(zxid)
            del self.sessions[name]
            return self.events() + [f"= err {error}" if error else "= ok"]
        if words[0] in ("multi", "multiread"):
            ops = [op.split() for op in line.split(None, 2)[2].split(" ; ")] if len(words) > 1 else []
            body = b"".join(struct.pack(">i?i", kind, False, -1) + rest for kind, rest in map(request, ops))
            zxid, error, reply = session.call(14 if words[0] == "multi" else 22, body + struct.pack(">i?i", -1, True, -1))
            if words[0] == "multi":
                self.write(zxid)
            answer = f"= err {error}" if error else "= multi " + " ; ".join(self.multi(reply))
            return self.events() + [answer.strip()]
        kind, body = request(words)
        zxid, error, reply = session.call(kind, body)
        if kind not in (3, 4, 6, 8, 12, 103, 104, 106):
            self.write(zxid)
        answer = f"= err {error}" if error else f"= ok {self.result(kind, reply)}".strip()
        return self.events() + [answer]

    def write(self, zxid):
        self.zxids.setdefault(zxid, self.commands)

    def events(self):
        """What each session was told since the last command."""
        lines = []
        for name, session in sorted(self.sessions.items()):
            session.call(11, b"", -2)
            lines += [f"! {name} {kind} {escape(path)}" for kind, path in session.take_events()]
        return lines


def record(path):
    lines = [line.rstrip("\n") for line in open(path)]
    properties = [line.split(None, 2)[2] for line in lines if line.startswith("# server:")]
    server = Server(properties)
    try:
        recording, out = Recording(server), []
        for line in lines:
            if line.startswith(("=", "!")):
                continue
            out.append(line)
            if line and not line.startswith("#"):
                try:
                    out += recording.run(line)
                except (OSError, EOFError) as error:
                    raise SystemExit(f"{path}: {line}: {error}")
    finally:
        server.stop()
    with open(path, "w") as file:
        file.write("\n".join(out) + "\n")
    print(f"{os.path.basename(path)}: {recording.commands} commands")


for case in sys.argv[1:] or sorted(glob.glob(f"{HERE}/cases/*.txt")):
    record(case)
