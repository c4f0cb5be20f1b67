//! Asking servers over their own ports, without their clients: HTTP, and words of four letters.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long a server may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The most bytes of an answer that are read.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// Sends a request and reads all that comes until the other side ends the connection. None if the
/// server is not there or does not end.
pub fn ask(address: SocketAddr, request: &str) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT).ok()?;
    stream.set_read_timeout(Some(TIMEOUT)).ok()?;
    stream.write_all(request.as_bytes()).ok()?;
    let mut text = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut text).ok()?;
    Some(text)
}

/// The body of the answer to an HTTP request for a path, if its status is 200.
pub fn get(address: SocketAddr, path: &str) -> Option<String> {
    let answer = ask(address, &format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n"))?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    (head.split_whitespace().nth(1)? == "200").then(|| body.to_owned())
}

/// True if somebody listens there.
pub fn listens(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, TIMEOUT).is_ok()
}
