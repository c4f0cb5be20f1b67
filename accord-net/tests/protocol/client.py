"""A small client of Accord, written from docs/protocol.md alone: Python 3, standard library.

Run with the addresses of the servers of one cluster. Tells what it does, and ends with an error if
a server does anything but what the document says.
"""

import json
import socket
import struct
import sys

FRAME_BYTES_MAX = 262144
CREATE, EXCLUSIVE, APPEND, REPLACE, EPHEMERAL, SEQUENCE = 1, 2, 4, 8, 16, 32


# Encoding.


def varint(number):
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def signed(number):
    return varint((number << 1) ^ (number >> 63))


def string(value):
    return varint(len(value)) + value


def option(value, encode):
    return b"\0" if value is None else b"\1" + encode(value)


def array(items):
    return varint(len(items)) + b"".join(items)


def transaction(guard=(), then=(), otherwise=()):
    """An operation on the key-value store, whose kind is 1."""
    return b"\1" + array(guard) + array(then) + array(otherwise)


def write(key, value, flags=CREATE | REPLACE, offset=0):
    return bytes([2, flags]) + string(key) + varint(offset) + string(value)


def read_step(key):
    return b"\1" + string(key) + varint(0) + varint(2**64 - 1)


def delete(key):
    return b"\3" + string(key)


def copy(source, target):
    return bytes([4, CREATE]) + string(source) + string(target)


def increment(key, delta):
    return bytes([6, CREATE, 8]) + string(key) + signed(delta) + option(None, varint)


def value_equals(key, value):
    return b"\1" + string(key) + b"\0" + string(value)


def list_query(prefix, after=None, limit=100, keys_only=False):
    head = b"\1" + string(prefix) + option(after, string)
    return head + varint(limit) + bytes([keys_only])


def get_query(key):
    return b"\1\1" + string(key) + varint(0) + varint(2**64 - 1)


class Reader:
    """Takes a message apart."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def u8(self):
        self.at += 1
        return self.data[self.at - 1]

    def bool(self):
        return {0: False, 1: True}[self.u8()]

    def varint(self):
        number = shift = 0
        while True:
            byte = self.u8()
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return number

    def bytes(self):
        length = self.varint()
        self.at += length
        assert self.at <= len(self.data), "a string ends within its message"
        return self.data[self.at - length : self.at]

    def fixed(self, length):
        self.at += length
        assert self.at <= len(self.data), "the message goes on"
        return self.data[self.at - length : self.at]

    def option(self, decode):
        return decode() if self.bool() else None

    def array(self, decode):
        return [decode() for _ in range(self.varint())]

    def stat(self):
        names = ("version", "created", "modified", "size")
        stat = {name: self.varint() for name in names}
        stat["owner"] = self.option(self.varint)
        return stat

    def entry(self):
        return {"key": self.bytes(), "stat": self.stat(), "value": self.option(self.bytes)}

    def page(self):
        return {"entries": self.array(self.entry), "more": self.bool()}

    def result(self):
        tag = self.u8()
        if tag == 1:
            return ("read", self.bytes(), self.stat())
        if tag == 2:
            return ("written", self.varint(), self.option(self.bytes))
        if tag == 3:
            return ("deleted",)
        if tag == 4:
            return ("copied", self.varint())
        if tag == 5:
            return ("held",)
        if tag == 6:
            return ("incremented", self.varint(), self.varint())
        assert tag == 7, tag
        return ("listed", self.page())

    def outcome(self):
        kind = self.u8()
        if kind == 0:
            error = self.u8()
            number = self.varint() if error in (3, 4) else None
            return ("refused", error, self.u8() if error == 9 else number)
        assert kind == 1, kind
        tag = self.u8()
        if tag == 1:
            revision, then = self.varint(), self.bool()
            return ("committed", revision, then, self.array(self.result))
        assert tag == 2, tag
        return ("aborted", self.bool(), self.varint(), self.u8())

    def read_result(self):
        tag = (self.u8(), self.u8())
        if tag == (1, 1):
            return ("value", self.bytes(), self.stat())
        if tag == (1, 2):
            return ("listed", self.page())
        if tag == (0, 1):
            return ("not found",)
        if tag == (0, 2):
            return ("members", self.array(self.varint), self.bool())
        assert tag == (0, 3), tag
        owner = self.option(self.varint)
        return ("session", owner, self.varint(), self.varint(), self.varint(), self.varint())

    def event(self):
        of, tag = self.u8(), self.u8()
        if of == 1:
            kind = ("created", "changed", "deleted", "copied")[tag]
            revision, key, version = self.varint(), self.bytes(), self.varint()
            return (kind, revision, key, version, self.varint(), self.bytes(), self.varint())
        assert of == 0, of
        return (("joined", "left")[tag], self.varint(), self.varint(), self.varint())


def message(payload):
    """A server's message as a tuple: its name and its fields."""
    reader = Reader(payload)
    assert reader.u8() == 2, "the version"
    tag = reader.u8()
    decode = {
        65: lambda: (
            "opened",
            reader.varint(),
            reader.fixed(16),
            reader.varint(),
            reader.varint(),
        ),
        66: lambda: ("attached", reader.varint(), reader.varint(), reader.varint(), reader.varint()),
        67: lambda: ("session refused", reader.u8()),
        68: lambda: ("session closed", reader.u8()),
        69: lambda: ("reply", reader.varint(), reader.outcome()),
        70: lambda: ("request refused", reader.varint(), reader.u8()),
        71: lambda: ("read reply", reader.varint(), reader.varint(), reader.read_result()),
        72: lambda: ("read refused", reader.varint(), reader.u8()),
        73: lambda: (
            "watching",
            reader.varint(),
            reader.varint(),
            reader.option(lambda: reader.array(reader.varint)),
        ),
        74: lambda: ("watch refused", reader.varint(), reader.u8()),
        75: lambda: ("events", reader.varint(), reader.varint(), reader.array(reader.event)),
        76: lambda: ("watch lost", reader.varint(), reader.varint()),
        77: lambda: ("status", reader.bool()),
        78: lambda: ("pong", reader.varint(), reader.varint()),
    }
    found = decode[tag]()
    assert reader.at == len(payload), "nothing follows a message"
    return found


class Connection:
    """A stream of messages."""

    def __init__(self, address, kind=b"C", version=2):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=30)
        self.socket.sendall(b"ACRD" + kind + bytes([version, 0, 0]))
        preface = self.exactly(8)
        assert preface[:5] == b"ACRD" + kind, preface
        self.version = preface[5]

    def exactly(self, count):
        parts = []
        while count:
            part = self.socket.recv(min(count, 1 << 16))
            if not part:
                raise EOFError
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def send(self, payload):
        while True:
            frame, payload = payload[:FRAME_BYTES_MAX], payload[FRAME_BYTES_MAX:]
            header = len(frame) | (1 << 31 if payload else 0)
            self.socket.sendall(struct.pack("<I", header) + frame)
            if not payload:
                return

    def receive(self):
        payload = b""
        while True:
            (header,) = struct.unpack("<I", self.exactly(4))
            length = header & 0x7FFFFFFF
            assert length <= FRAME_BYTES_MAX
            payload += self.exactly(length)
            if not header >> 31:
                return payload


class Client:
    """A session. Does one thing at a time, but for what says otherwise."""

    def __init__(self, address):
        self.connection = Connection(address)
        self.numbers = 0
        self.reads = 0
        self.seen = 0
        self.events = []
        self.say(1, varint(10000))
        self.session, self.secret, self.timeout, self.seen = self.hear("opened")

    def say(self, tag, fields=b""):
        self.connection.send(bytes([2, tag]) + fields)

    def hear(self, name):
        """The fields of the next message of this name. Keeps events."""
        while True:
            found = message(self.connection.receive())
            if found[0] == "events":
                self.events.append(found[1:])
                self.seen = max(self.seen, found[2])
            if found[0] == name:
                return found[1:]
            assert found[0] in ("events", "status"), (name, found)

    def attach(self, address):
        self.connection = Connection(address)
        self.say(2, varint(self.session) + self.secret + varint(self.seen))
        session, _, generation, revision = self.hear("attached")
        assert session == self.session
        self.seen = max(self.seen, revision)
        return generation

    def send_request(self, number, acked_below, txn):
        self.say(4, varint(number) + varint(acked_below) + txn)

    def do(self, *then, guard=(), otherwise=()):
        self.numbers += 1
        self.send_request(self.numbers, self.numbers, transaction(guard, then, otherwise))
        number, outcome = self.hear("reply")
        assert number == self.numbers
        if outcome[0] == "committed":
            self.seen = max(self.seen, outcome[1])
        return outcome

    def send_read(self, query, local=False, after=None, watch=None):
        self.reads += 1
        place = option(after, varint) + option(watch, bytes)
        self.say(5, varint(self.reads) + bytes([local]) + place + query)
        return self.reads

    def read(self, query, local=False):
        self.send_read(query, local)
        number, revision, result = self.hear("read reply")
        assert number == self.reads
        self.seen = max(self.seen, revision)
        return result

    def get(self, key, local=False):
        return self.read(get_query(key), local)

    def watch(self, number, filter, mask=63, once=False, since=None):
        fields = varint(number) + filter + bytes([mask, once]) + option(since, varint)
        self.say(6, fields)
        found, since, members = self.hear("watching")
        assert found == number
        return since, members

    def next_events(self):
        if not self.events:
            self.events.append(message(self.connection.receive())[1:])
        return self.events.pop(0)

    def close(self):
        self.say(3)
        assert self.hear("session closed") == (0,)


# What the document says, tried out.


def basics(servers):
    client = Client(servers[0])
    print("a session:", client.session)
    outcome = client.do(write(b"py/k", b"hello"))
    assert outcome[0] == "committed" and outcome[3] == [("written", 1, None)], outcome
    value = client.get(b"py/k")
    assert value[:2] == ("value", b"hello") and value[2]["created"] == outcome[1], value
    assert client.get(b"py/k", local=True) == value
    assert client.get(b"py/none") == ("not found",)
    assert client.do(delete(b"py/none")) == ("aborted", True, 0, 0)
    assert client.do(write(b"py/k", b"x", CREATE | EXCLUSIVE)) == ("aborted", True, 0, 1)
    swapped = client.do(
        write(b"py/k", b"bye"),
        copy(b"py/k", b"py/copy"),
        increment(b"py/n", -1),
        guard=[value_equals(b"py/k", b"hello")],
        otherwise=[read_step(b"py/k")],
    )
    assert swapped[3] == [("written", 2, None), ("copied", 1), ("incremented", 2**64 - 1, 1)]
    outcome = client.do(
        delete(b"py/k"), guard=[value_equals(b"py/k", b"hello")], otherwise=[read_step(b"py/k")]
    )
    assert outcome[2] is False and outcome[3][0][:2] == ("read", b"bye"), outcome
    _, _, _, [(_, version, key)] = client.do(write(b"py/s/", b"", SEQUENCE | EPHEMERAL))
    assert version == 1 and key.startswith(b"py/s/") and len(key) == 5 + 20
    large = bytes(range(256)) * 3000
    client.do(write(b"py/large", large))
    assert client.get(b"py/large")[1] == large
    page = client.read(b"\1\2" + list_query(b"py/", limit=2, keys_only=True))[1]
    assert [entry["key"] for entry in page["entries"]] == [b"py/copy", b"py/k"] and page["more"]
    rest = client.read(b"\1\2" + list_query(b"py/", after=b"py/k"))[1]
    assert [entry["key"] for entry in rest["entries"]] == [b"py/large", b"py/n", key]
    assert rest["entries"][0]["value"] == large
    assert rest["entries"][2]["stat"]["owner"] == client.session and not rest["more"]
    client.say(8, varint(7))
    nonce, revision = client.hear("pong")
    assert nonce == 7 and revision >= client.seen
    client.close()
    print("what it wrote and read was right")


def pipelining(servers):
    client = Client(servers[1])
    count = 500
    for number in range(1, count + 1):
        txn = transaction(then=[increment(b"py/many", 1)])
        client.send_request(number, 1, txn)
    values = {}
    for _ in range(count):
        number, outcome = client.hear("reply")
        values[number] = outcome[3][0][1]
    assert values == {number: number for number in range(1, count + 1)}
    client.close()
    print(count, "requests at once were carried out in order")


def places(servers):
    """Writes and reads in one go, each read behind the writes before it; one sets a watch."""
    client, other = Client(servers[2]), Client(servers[0])
    for number in range(1, 41):
        txn = transaction(then=[write(b"py/place", b"%d" % number)])
        client.send_request(number, 1, txn)
        watch = varint(7) + b"\1" + string(b"py/place") + bytes([63, False])
        watch = watch if number == 40 else None
        client.send_read(get_query(b"py/place"), number % 2 == 0, number, watch)
    for number in range(1, 41):
        assert client.hear("reply")[0] == number
        read, revision, result = client.hear("read reply")
        assert (read, result[:2]) == (number, ("value", b"%d" % number)), result
    other.do(write(b"py/place", b"other"))
    watch, later, [event] = client.next_events()
    assert (watch, event[0], event[5]) == (7, "changed", b"other") and later > revision
    again = varint(7) + b"\3" + bytes([63, True])
    read = client.send_read(get_query(b"py/place"), True, 40, again)
    assert client.hear("read refused") == (read, 7), "the number is in use"
    client.close()
    other.close()
    print("reads stood behind the writes in front of them")


def moving(servers):
    """Watches, a lost connection, a repeated request."""
    client, other = Client(servers[0]), Client(servers[1])
    since, _ = client.watch(1, b"\2" + string(b"py/w/"))
    members_since, members = client.watch(2, b"\3")
    assert since <= members_since and {client.session, other.session} <= set(members)
    other.do(write(b"py/w/a", b"1"))
    watch, revision, [event] = client.next_events()
    assert watch == 1 and event[:4] == ("created", revision, b"py/w/a", 1) and event[5] == b"1"
    # The client sees its own change before the answer to it.
    outcome = client.do(write(b"py/w/a", b"2"))
    watch, complete, [event] = client.next_events()
    assert (watch, complete, event[0]) == (1, outcome[1], "changed")
    # A request is sent, and the connection breaks: did it happen?
    client.numbers += 1
    txn = transaction(then=[increment(b"py/once", 1)])
    client.send_request(client.numbers, client.numbers, txn)
    client.connection.socket.close()
    other.do(write(b"py/w/b", b"3"))
    assert client.attach(servers[2]) == 2
    client.watch(1, b"\2" + string(b"py/w/"), since=complete)
    client.send_request(client.numbers, client.numbers, txn)
    number, outcome = client.hear("reply")
    assert number == client.numbers and outcome[3] == [("incremented", 1, 1)], outcome
    watch, revision, [event] = client.next_events()
    assert watch == 1 and event[:3] == ("created", revision, b"py/w/b"), "nothing was missed"
    client.send_request(client.numbers, client.numbers, txn)
    assert client.hear("reply") == (number, outcome), "the same outcome, however often it is asked"
    assert client.get(b"py/once")[1] == (1).to_bytes(8, "little"), "it happened once"
    # A number that was passed over never runs.
    client.numbers += 2
    client.send_request(client.numbers, client.numbers - 1, txn)
    assert client.hear("reply")[1][0] == "committed"
    client.send_request(client.numbers - 1, client.numbers - 1, txn)
    assert client.hear("reply")[1] == ("refused", 4, client.numbers)
    # Whoever attaches with its secret has the session; who had it is told.
    thief = Connection(servers[0])
    thief.send(bytes([2, 2]) + varint(client.session) + bytes(16) + varint(0))
    assert message(thief.receive()) == ("session refused", 0), "a secret that is none"
    thief = Connection(servers[0])
    thief.send(bytes([2, 2]) + varint(client.session) + client.secret + varint(0))
    assert message(thief.receive())[0] == "attached"
    assert client.hear("session closed") == (2,)
    # It ends, and the others are told.
    other.watch(3, b"\3", mask=32)
    thief.send(bytes([2, 3]))
    assert message(thief.receive()) == ("session closed", 0)
    watch, revision, [event] = other.next_events()
    assert watch == 3 and event[:3] == ("left", revision, client.session)
    other.say(7, varint(3))
    other.close()
    print("it moved to another server and lost nothing")


def refusals(servers):
    for version in (1, 9):
        assert Connection(servers[0], version=version).version == 2
    client = Client(servers[0])
    client.send_request(1, 1, b"\7" + transaction()[1:])
    assert client.hear("reply") == (1, ("refused", 9, 7)), "no such kind of object"
    client.close()
    lost = Connection(servers[0])
    lost.send(bytes([2, 2]) + varint(2**63) + bytes(16) + varint(0))
    assert message(lost.receive()) == ("session refused", 0)
    early = Connection(servers[0])
    early.send(bytes([2, 3]))
    try:
        early.receive()
        raise AssertionError("the server hangs up on who has no session")
    except (EOFError, ConnectionResetError):
        pass
    operator = Connection(servers[2], kind=b"O", version=1)
    operator.send(b'{"op":"status"}')
    assert json.loads(operator.receive())["status"]["node"] == 3
    operator.send(b'{"op":"dance"}')
    assert "not understood" in json.loads(operator.receive())["refused"]["reason"]
    print("what is wrong is refused")


def main():
    servers = sys.argv[1:]
    for part in (basics, pipelining, places, moving, refusals):
        part(servers)
    print("all is well")


if __name__ == "__main__":
    main()
