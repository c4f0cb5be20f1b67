//! How two servers prove to each other that they hold the cluster's key: halves, codes, a key.
//!
//! No IO here; the order of the messages is told in [`super::peers`].

use accord_core::ids::NodeId;

/// The bytes of a code.
pub(super) const CODE_BYTES: usize = 16;
const NONCE_BYTES: usize = 32;

/// The secret of one stream, and how many messages it has proved.
pub(super) struct StreamKey {
    key: [u8; 32],
    count: u64,
}

impl StreamKey {
    /// The code of the next message, which goes on behind its first byte.
    pub(super) fn code(&mut self, about: u8, message: &[u8]) -> [u8; CODE_BYTES] {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&self.count.to_le_bytes());
        hasher.update(&[about]);
        hasher.update(message);
        self.count += 1;
        first_bytes(hasher.finalize())
    }
}

fn first_bytes(hash: blake3::Hash) -> [u8; CODE_BYTES] {
    let mut code = [0; CODE_BYTES];
    code.copy_from_slice(&hash.as_bytes()[..CODE_BYTES]);
    code
}

/// What both ends have said of themselves.
pub(super) struct Halves {
    pub(super) dialler: Half,
    pub(super) acceptor: Half,
}

#[derive(Clone, Copy)]
pub(super) struct Half {
    pub(super) node: NodeId,
    /// The label of its cluster.
    pub(super) cluster: u64,
    nonce: [u8; NONCE_BYTES],
}

pub(super) const HALF_BYTES: usize = 4 + 8 + NONCE_BYTES;

impl Half {
    /// What a server says of itself, with a nonce made of numbers that `draw` gives.
    pub(super) fn new(node: NodeId, cluster: u64, mut draw: impl FnMut() -> u64) -> Self {
        let mut nonce = [0; NONCE_BYTES];
        nonce.chunks_mut(8).for_each(|part| part.copy_from_slice(&draw().to_le_bytes()));
        Self { node, cluster, nonce }
    }

    pub(super) fn to_bytes(self) -> [u8; HALF_BYTES] {
        let mut bytes = [0; HALF_BYTES];
        bytes[..4].copy_from_slice(&self.node.0.to_le_bytes());
        bytes[4..12].copy_from_slice(&self.cluster.to_le_bytes());
        bytes[12..].copy_from_slice(&self.nonce);
        bytes
    }

    pub(super) fn from_bytes(bytes: [u8; HALF_BYTES]) -> Self {
        let (mut node, mut cluster, mut nonce) = ([0; 4], [0; 8], [0; NONCE_BYTES]);
        node.copy_from_slice(&bytes[..4]);
        cluster.copy_from_slice(&bytes[4..12]);
        nonce.copy_from_slice(&bytes[12..]);
        let node = NodeId(u32::from_le_bytes(node));
        Self { node, cluster: u64::from_le_bytes(cluster), nonce }
    }
}

impl Halves {
    fn hash(&self, key: &[u8; 32], label: &str) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(key);
        hasher.update(label.as_bytes());
        hasher.update(&self.dialler.to_bytes());
        hasher.update(&self.acceptor.to_bytes());
        hasher.finalize()
    }

    pub(super) fn acceptor_code(&self, key: &[u8; 32]) -> [u8; CODE_BYTES] {
        first_bytes(self.hash(key, "accord peer acceptor"))
    }

    pub(super) fn dialler_code(&self, key: &[u8; 32]) -> [u8; CODE_BYTES] {
        first_bytes(self.hash(key, "accord peer dialler"))
    }

    pub(super) fn stream_key(&self, key: &[u8; 32]) -> StreamKey {
        StreamKey { key: *self.hash(key, "accord peer stream").as_bytes(), count: 0 }
    }
}

/// Compares in a time that does not depend on where codes differ.
pub(super) fn same(mine: [u8; CODE_BYTES], theirs: [u8; CODE_BYTES]) -> bool {
    mine.iter().zip(theirs).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}
