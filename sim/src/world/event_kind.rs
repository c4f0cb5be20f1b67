//! The kinds of event that go into the digest of a run.

/// A kind of event. Its number is part of the digest, so no two kinds share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum EventKind {
    /// A datagram is handed to a server.
    Datagram = 0,
    /// The group delivers a message.
    Delivery = 1,
    /// The group forms a view.
    View = 2,
    /// A message beside the group is handed to a server.
    Peer = 3,
    /// A write is durable.
    Stored = 4,
    /// A server is handed anything else.
    Input = 5,
    /// A connection brings something to a server.
    Conn = 6,
    /// A server's time may have come.
    Timer = 7,
    /// A connection brings something to a client.
    ClientConn = 10,
    /// A client's time may have come.
    ClientTimer = 11,
    /// A process starts.
    Start = 12,
    /// A process dies.
    Death = 13,
    /// A record is given to a disk.
    Persist = 14,
    /// A server asks for anything else.
    Output = 15,
    /// A server sends a datagram.
    SentDatagram = 16,
    /// A server sends a message beside the group.
    SentPeer = 17,
    /// A client sends something.
    SentUp = 18,
    /// A server sends something to a client.
    SentDown = 19,
    /// A client submits a transaction.
    Submit = 20,
    /// A client begins a read.
    Read = 21,
    /// A fault of the plan begins.
    FaultBegins = 30,
    /// A fault of the plan ends.
    FaultEnds = 31,
    /// A fault of the plan is skipped.
    FaultSkipped = 32,
    /// The state of a server in the end.
    State = 40,
    /// What the clients of a workload saw.
    History = 41,
    /// The first property that did not hold, or none.
    Verdict = 42,
    /// Bytes are read from a stream.
    StreamRead = 50,
    /// Bytes are written to a stream.
    StreamWritten = 51,
    /// A stream is accepted.
    StreamAccepted = 52,
    /// A stream is opened, or not.
    StreamOpened = 53,
    /// A stream is found broken.
    StreamBroken = 54,
    /// A job of a server is done.
    JobDone = 55,
}
