//! What is known of a znode besides its data, as ZooKeeper's clients see it.

use crate::ids::{Revision, SessionId, Stamp};
use crate::wire::{Decode, Encode, Reader, WireError, Writer};

/// How long a znode lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lifetime {
    /// Until it is deleted.
    #[default]
    Persistent,
    /// Until its session ends. It has no children.
    Session(SessionId),
    /// Until it has no children any more.
    Container,
    /// Until it was neither changed nor had children for longer than this, in milliseconds.
    Ttl(u64),
}

/// The longest time to live, in milliseconds: it has 40 bits.
pub const TTL_MS_MAX: u64 = (1 << 40) - 1;
/// ZooKeeper's owner of a container.
const CONTAINER: u64 = 1 << 63;
/// ZooKeeper's owner of a znode with a time to live has these bits, and the time in the lowest 40.
const TTL: u64 = 0xff << 56;

impl Lifetime {
    /// As ZooKeeper keeps it, in place of the session that owns an ephemeral. Its clients are told
    /// [`ZnodeStat::ephemeral_owner`].
    pub const fn kept_owner(self) -> u64 {
        match self {
            Self::Persistent => 0,
            Self::Session(session) => session.0,
            Self::Container => CONTAINER,
            Self::Ttl(ms) => TTL | ms,
        }
    }

    /// What [`Self::kept_owner`] wrote.
    pub(super) const fn from_kept_owner(owner: u64) -> Self {
        match owner {
            0 => Self::Persistent,
            CONTAINER => Self::Container,
            _ if owner & TTL == TTL => Self::Ttl(owner & TTL_MS_MAX),
            _ => Self::Session(SessionId(owner)),
        }
    }
}

impl Encode for Lifetime {
    fn encode(&self, out: &mut Writer) {
        match self {
            Self::Persistent => out.u8(0),
            Self::Session(session) => {
                out.u8(1);
                session.encode(out);
            }
            Self::Container => out.u8(2),
            Self::Ttl(ms) => {
                out.u8(3);
                out.varint(*ms);
            }
        }
    }
}
impl Decode for Lifetime {
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        let lifetime = match input.u8()? {
            0 => Self::Persistent,
            1 => Self::Session(Decode::decode(input)?),
            2 => Self::Container,
            3 => Self::Ttl(input.varint()?),
            tag => return Err(WireError::UnknownTag { what: "lifetime", tag: u64::from(tag) }),
        };
        // What is not written the same way again would be taken for something else.
        if Self::from_kept_owner(lifetime.kept_owner()) == lifetime {
            Ok(lifetime)
        } else {
            Err(WireError::Invalid { what: "lifetime" })
        }
    }
}

/// What is known of a znode besides its data. The fields are those of ZooKeeper's Stat; a zxid is a
/// revision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ZnodeStat {
    /// The revision that created it; 0 for what is there from the beginning.
    pub czxid: Revision,
    /// The revision that last set its data, or created it.
    pub mzxid: Revision,
    /// The revision that last created or deleted a child, or created the znode.
    pub pzxid: Revision,
    /// The time of its creation.
    pub ctime: Stamp,
    /// The time at which its data was last set.
    pub mtime: Stamp,
    /// How often its data was set.
    pub version: i32,
    /// How often a child was created or deleted.
    pub cversion: i32,
    /// How often its access control list was set.
    pub aversion: i32,
    /// How long it lives.
    pub lifetime: Lifetime,
    /// The size of its data, in bytes.
    pub data_length: u32,
    /// How many children it has.
    pub num_children: u32,
}

impl ZnodeStat {
    /// The session that owns an ephemeral; 0 for every other znode, containers included.
    pub const fn ephemeral_owner(&self) -> u64 {
        match self.lifetime {
            Lifetime::Session(session) => session.0,
            Lifetime::Persistent | Lifetime::Container | Lifetime::Ttl(_) => 0,
        }
    }
}

impl Encode for ZnodeStat {
    fn encode(&self, out: &mut Writer) {
        [self.czxid, self.mzxid, self.pzxid].iter().for_each(|revision| revision.encode(out));
        [self.ctime, self.mtime].iter().for_each(|time| time.encode(out));
        let versions = [self.version, self.cversion, self.aversion];
        versions.iter().for_each(|version| out.varint_signed(i64::from(*version)));
        self.lifetime.encode(out);
        out.varint(u64::from(self.data_length));
        out.varint(u64::from(self.num_children));
    }
}
impl Decode for ZnodeStat {
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        Ok(Self {
            czxid: Decode::decode(input)?,
            mzxid: Decode::decode(input)?,
            pzxid: Decode::decode(input)?,
            ctime: Decode::decode(input)?,
            mtime: Decode::decode(input)?,
            version: decode_i32(input, "version")?,
            cversion: decode_i32(input, "cversion")?,
            aversion: decode_i32(input, "aversion")?,
            lifetime: Decode::decode(input)?,
            data_length: input.varint_u32("data length")?,
            num_children: input.varint_u32("children")?,
        })
    }
}

/// Reads a signed number of 32 bits.
pub(super) fn decode_i32(input: &mut Reader, what: &'static str) -> Result<i32, WireError> {
    i32::try_from(input.varint_signed()?).map_err(|_| WireError::Invalid { what })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_are_kept_as_zookeeper_does() {
        let all = [
            (Lifetime::Persistent, 0),
            (Lifetime::Session(SessionId(7)), 7),
            (Lifetime::Container, 0x8000_0000_0000_0000),
            (Lifetime::Ttl(1), 0xff00_0000_0000_0001),
            (Lifetime::Ttl(TTL_MS_MAX), 0xff00_00ff_ffff_ffff),
        ];
        for (lifetime, owner) in all {
            assert_eq!(lifetime.kept_owner(), owner);
            assert_eq!(Lifetime::from_bytes(&lifetime.to_bytes()), Ok(lifetime));
        }
        for wrong in [Lifetime::Session(SessionId(0)), Lifetime::Ttl(TTL_MS_MAX + 1)] {
            assert!(Lifetime::from_bytes(&wrong.to_bytes()).is_err(), "{wrong:?}");
        }
    }
}
