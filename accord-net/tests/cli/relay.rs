//! A network between clients and a server that can fail.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

/// Passes bytes on between clients and a server, until it is frozen: then it passes on nothing and
/// closes nothing, takes connections and leaves them alone.
pub struct Relay {
    pub at: String,
    gate: Arc<Gate>,
}

#[derive(Default)]
struct Gate {
    frozen: Mutex<bool>,
    changed: Condvar,
    clients: Mutex<Vec<TcpStream>>,
}

impl Gate {
    fn pass(&self) {
        let frozen = self.frozen.lock().expect("nobody panicked");
        drop(self.changed.wait_while(frozen, |frozen| *frozen).expect("nobody panicked"));
    }
}

impl Relay {
    pub fn to(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a port");
        let at = listener.local_addr().expect("it is bound").to_string();
        let (gate, server) = (Arc::new(Gate::default()), server.to_owned());
        let passing = gate.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (gate, server) = (passing.clone(), server.clone());
                std::thread::spawn(move || relay(&client, &server, &gate));
            }
        });
        Self { at, gate }
    }

    pub fn freeze(&self) {
        *self.gate.frozen.lock().expect("nobody panicked") = true;
    }

    /// Ends the connections that there are.
    pub fn cut(&self) {
        for client in self.gate.clients.lock().expect("nobody panicked").drain(..) {
            let _ = client.shutdown(Shutdown::Both);
        }
    }
}

fn relay(client: &TcpStream, server: &str, gate: &Arc<Gate>) {
    gate.pass();
    let Ok(known) = client.try_clone() else { return };
    gate.clients.lock().expect("nobody panicked").push(known);
    let Ok(server) = TcpStream::connect(server) else { return };
    std::thread::scope(|scope| {
        scope.spawn(|| pump(client, &server, gate));
        pump(&server, client, gate);
    });
}

fn pump(mut from: &TcpStream, mut to: &TcpStream, gate: &Gate) {
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        gate.pass();
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
