//! Who has a session: the principal that opened it, and the secret that shows that it is the same.
//!
//! A session's id can be guessed; its secret cannot. The server that opens a session draws the
//! secret and tells it to the client alone. The order, the state and the disk have its hash.

use crate::wire::{Decode, Encode, Reader, WireError, Writer};
use core::fmt;

/// Bytes of a secret, and of its hash.
const SECRET_BYTES: usize = 16;

/// Whom a connection speaks for, as the driver found out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Principal {
    /// It was not asked.
    #[default]
    Anonymous,
}

impl Encode for Principal {
    fn encode(&self, out: &mut Writer) {
        match self {
            Self::Anonymous => out.u8(0),
        }
    }
}
impl Decode for Principal {
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        match input.u8()? {
            0 => Ok(Self::Anonymous),
            found => Err(WireError::UnknownTag { what: "principal", tag: u64::from(found) }),
        }
    }
}

/// What a server makes the secrets of sessions from: 32 bytes that nobody else knows, drawn afresh
/// at each start from randomness that is good enough for keys.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretKey([u8; 32]);

impl SecretKey {
    /// The key of these bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The secret of this number.
    pub fn secret(&self, number: u64) -> SessionSecret {
        SessionSecret(first_bytes(&blake3::keyed_hash(&self.0, &number.to_le_bytes())))
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey")
    }
}

/// What a client shows to go on with its session.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SessionSecret(pub [u8; SECRET_BYTES]);

impl SessionSecret {
    /// What the cluster keeps of it.
    pub fn hash(self) -> SecretHash {
        SecretHash(first_bytes(&blake3::hash(&self.0)))
    }
}

impl fmt::Debug for SessionSecret {
    /// Not the secret: what is printed ends in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("secret")
    }
}

/// The hash of a [`SessionSecret`], from which it cannot be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SecretHash(pub [u8; SECRET_BYTES]);

/// Who may go on with a session: a client that speaks for this principal and knows the secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Holder {
    /// For whom it was opened.
    pub principal: Principal,
    /// The hash of its secret.
    pub secret: SecretHash,
}

fn first_bytes(hash: &blake3::Hash) -> [u8; SECRET_BYTES] {
    let mut bytes = [0; SECRET_BYTES];
    bytes.copy_from_slice(&hash.as_bytes()[..SECRET_BYTES]);
    bytes
}

fn decode_bytes(input: &mut Reader) -> Result<[u8; SECRET_BYTES], WireError> {
    let mut bytes = [0; SECRET_BYTES];
    bytes.copy_from_slice(&input.raw(SECRET_BYTES)?);
    Ok(bytes)
}

impl Encode for SessionSecret {
    fn encode(&self, out: &mut Writer) {
        out.raw(&self.0);
    }
}
impl Decode for SessionSecret {
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        decode_bytes(input).map(Self)
    }
}

impl Encode for Holder {
    fn encode(&self, out: &mut Writer) {
        self.principal.encode(out);
        out.raw(&self.secret.0);
    }
}
impl Decode for Holder {
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        Ok(Self { principal: Principal::decode(input)?, secret: SecretHash(decode_bytes(input)?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn secrets_differ_by_key_and_number_and_are_not_their_hashes() {
        let (one, other) = (SecretKey::new([1; 32]), SecretKey::new([2; 32]));
        assert_eq!(one.secret(7), one.secret(7));
        assert_ne!(one.secret(7), one.secret(8));
        assert_ne!(one.secret(7), other.secret(7));
        assert_ne!(one.secret(7).hash().0, one.secret(7).0);
        assert_ne!(one.secret(7).hash(), one.secret(8).hash());
    }

    #[test]
    fn what_is_printed_tells_no_secret() {
        let key = SecretKey::new([0xab; 32]);
        assert_eq!(format!("{key:?} {:?}", key.secret(1)), "SecretKey secret");
    }

    #[test]
    fn a_principal_that_is_not_known_is_refused_by_name() {
        let bytes = bytes::Bytes::from_static(&[1]);
        let error = Principal::from_bytes(&bytes).expect_err("there is one kind");
        assert_eq!(format!("{error}"), "unknown principal tag 1");
    }
}
