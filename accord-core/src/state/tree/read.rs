//! Questions about the tree: answered from one replica's applied state, at its revision.

use super::acl::{
    self, Acl, Identity, decode_all, decode_identities, decode_list, encode_identities,
    encode_list, perms,
};
use super::error::TreeError;
use super::op::{decode_data, decode_path, encode_data};
use super::path;
use super::stat::ZnodeStat;
use super::store::{Store, Znode};
use crate::ids::SessionId;
use crate::limits::Limits;
use crate::wire::{Decode, Encode, Reader, WireError, Writer};
use alloc::vec::Vec;
use bytes::Bytes;

/// The most questions in one that are decoded; the limits decide how many are answered.
const QUESTIONS_DECODED_MAX: usize = 65_535;
/// What an answer counts against the limits for each of its parts, besides their bytes.
const PART_BYTES: u64 = 4;

/// A question about the tree, and who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeQuery {
    /// Who the client is, as its front-end found out.
    pub identities: Vec<Identity>,
    /// What it asks.
    pub question: TreeQuestion,
}

/// What a client may ask about the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TreeQuestion {
    /// One question.
    One(ZnodeQuestion),
    /// Several, answered from the same state, each with an answer or an error of its own.
    Multi(Vec<ZnodeQuestion>),
    /// The paths of the ephemerals of a session, in order.
    Ephemerals {
        /// The session; a front-end asks for its client's own.
        session: SessionId,
        /// Only paths that begin with this text; all, if it is blank or `/`.
        prefix: Bytes,
    },
}

/// A question about one znode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZnodeQuestion {
    /// What is asked.
    pub what: Ask,
    /// Its path.
    pub path: Bytes,
}

/// What is asked about a znode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ask {
    /// Its Stat. No permission is needed.
    Exists,
    /// Its data and Stat.
    Data,
    /// The names of its children, in the order of their bytes, and its Stat.
    Children,
    /// Its access control list and Stat.
    Acl,
    /// How many znodes are below it, at any depth.
    Descendants,
}

impl Ask {
    const ALL: [Self; 5] = [Self::Exists, Self::Data, Self::Children, Self::Acl, Self::Descendants];
}

/// The answer to a [`TreeQuery`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TreeAnswer {
    /// To one question.
    One(ZnodeAnswer),
    /// To several, in order.
    Multi(Vec<ZnodeAnswer>),
    /// The paths of the ephemerals.
    Ephemerals(Vec<Bytes>),
    /// There is none.
    Failed(TreeError),
}

/// The answer to a [`ZnodeQuestion`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ZnodeAnswer {
    /// To [`Ask::Exists`].
    Stat(ZnodeStat),
    /// To [`Ask::Data`].
    Data(Option<Bytes>, ZnodeStat),
    /// To [`Ask::Children`].
    Children(Vec<Bytes>, ZnodeStat),
    /// To [`Ask::Acl`].
    Acl(Vec<Acl>, ZnodeStat),
    /// To [`Ask::Descendants`].
    Descendants(u64),
    /// There is none.
    Failed(TreeError),
}

impl TreeAnswer {
    /// About how many bytes it carries.
    pub fn weight(&self) -> usize {
        match self {
            Self::One(answer) => answer.weight(),
            Self::Multi(all) => all.iter().map(ZnodeAnswer::weight).sum(),
            Self::Ephemerals(paths) => texts_weight(paths),
            Self::Failed(_) => 0,
        }
    }
}

impl ZnodeAnswer {
    fn weight(&self) -> usize {
        const FIXED_BYTES: usize = 64;
        let variable = match self {
            Self::Data(data, _) => data.as_ref().map_or(0, Bytes::len),
            Self::Children(names, _) => texts_weight(names),
            Self::Acl(list, _) => list.iter().map(acl_bytes).sum(),
            Self::Stat(_) | Self::Descendants(_) | Self::Failed(_) => 0,
        };
        FIXED_BYTES + variable
    }
}

fn texts_weight(texts: &[Bytes]) -> usize {
    texts.iter().map(|text| PART_BYTES as usize + text.len()).sum()
}

fn acl_bytes(acl: &Acl) -> usize {
    acl.identity.scheme.len() + acl.identity.id.len()
}

/// Answers a question.
pub(super) fn answer(store: &Store, query: &TreeQuery, limits: &Limits) -> TreeAnswer {
    let mut reading = Reading { store, who: &query.identities, room: limits.result_bytes_max };
    match &query.question {
        TreeQuestion::One(question) => TreeAnswer::One(reading.ask(question)),
        TreeQuestion::Multi(all) if all.len() > limits.steps_max as usize => {
            TreeAnswer::Failed(TreeError::BadArguments)
        }
        TreeQuestion::Multi(all) => {
            TreeAnswer::Multi(all.iter().map(|question| reading.ask(question)).collect())
        }
        TreeQuestion::Ephemerals { session, prefix } => {
            match reading.ephemerals(*session, prefix) {
                Ok(paths) => TreeAnswer::Ephemerals(paths),
                Err(error) => TreeAnswer::Failed(error),
            }
        }
    }
}

/// Answering one query.
struct Reading<'a> {
    store: &'a Store,
    who: &'a [Identity],
    /// How many bytes its answers may still have.
    room: u64,
}

impl<'a> Reading<'a> {
    fn ask(&mut self, question: &ZnodeQuestion) -> ZnodeAnswer {
        self.try_to_ask(question).unwrap_or_else(ZnodeAnswer::Failed)
    }

    fn try_to_ask(&mut self, question: &ZnodeQuestion) -> Result<ZnodeAnswer, TreeError> {
        let node = self.find(question)?;
        Ok(match question.what {
            Ask::Exists => ZnodeAnswer::Stat(node.stat()),
            Ask::Data => {
                self.take(node.data_len())?;
                ZnodeAnswer::Data(node.data(), node.stat())
            }
            Ask::Children => ZnodeAnswer::Children(self.children(question)?, node.stat()),
            Ask::Acl => ZnodeAnswer::Acl(self.acl(node)?, node.stat()),
            Ask::Descendants => ZnodeAnswer::Descendants(self.descendants(question)),
        })
    }

    fn find(&self, question: &ZnodeQuestion) -> Result<&'a Znode, TreeError> {
        let node = self.store.get(path::held(&question.path)).ok_or(TreeError::NoNode)?;
        let needed = match question.what {
            Ask::Exists => return Ok(node),
            Ask::Acl => perms::READ | perms::ADMIN,
            Ask::Data | Ask::Children | Ask::Descendants => perms::READ,
        };
        acl::check(node.acl.entries(), needed, self.who)?;
        Ok(node)
    }

    fn take(&mut self, bytes: usize) -> Result<(), TreeError> {
        let taken = self.room.checked_sub(bytes as u64 + PART_BYTES);
        self.room = taken.ok_or(TreeError::Marshalling)?;
        Ok(())
    }

    fn children(&mut self, question: &ZnodeQuestion) -> Result<Vec<Bytes>, TreeError> {
        let mut names = Vec::new();
        let mut fits = Ok(());
        self.store.each_child(path::held(&question.path), |name| {
            names.push(Bytes::copy_from_slice(name));
            fits = self.take(name.len());
            fits.is_ok()
        });
        fits.map(|()| names)
    }

    fn acl(&mut self, node: &Znode) -> Result<Vec<Acl>, TreeError> {
        let list = node.acl.entries();
        self.take(list.iter().map(acl_bytes).sum())?;
        let may_set = acl::check(list, perms::ADMIN, self.who).is_ok();
        Ok(if may_set { list.to_vec() } else { acl::redacted(list) })
    }

    fn descendants(&self, question: &ZnodeQuestion) -> u64 {
        match &question.path[..] {
            path::ROOT => self.store.len() as u64 - 1,
            // ZooKeeper knows the root under two paths, and counts the other one.
            [] => self.store.len() as u64,
            path => self.store.below(path).0,
        }
    }

    fn ephemerals(&mut self, session: SessionId, prefix: &[u8]) -> Result<Vec<Bytes>, TreeError> {
        let all = matches!(prefix.trim_ascii(), [] | path::ROOT);
        let mut paths = Vec::new();
        for held in self.store.ephemerals_of(session) {
            if all || held.starts_with(prefix) {
                self.take(held.len())?;
                paths.push(held.to_bytes());
            }
        }
        Ok(paths)
    }
}

mod tag {
    pub(super) const MULTI: u8 = 16;
    pub(super) const EPHEMERALS: u8 = 17;
    pub(super) const FAILED: u8 = 18;
}

impl Encode for TreeQuery {
    fn encode(&self, out: &mut Writer) {
        encode_identities(&self.identities, out);
        match &self.question {
            TreeQuestion::One(question) => question.encode(out),
            TreeQuestion::Multi(all) => {
                out.u8(tag::MULTI);
                out.varint(all.len() as u64);
                all.iter().for_each(|question| question.encode(out));
            }
            TreeQuestion::Ephemerals { session, prefix } => {
                out.u8(tag::EPHEMERALS);
                session.encode(out);
                out.bytes(prefix);
            }
        }
    }
}
impl Decode for TreeQuery {
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        let identities = decode_identities(input)?;
        let question = if input.skip_if(&[tag::MULTI]) {
            TreeQuestion::Multi(decode_all(input, "questions", QUESTIONS_DECODED_MAX, 2)?)
        } else if input.skip_if(&[tag::EPHEMERALS]) {
            TreeQuestion::Ephemerals {
                session: Decode::decode(input)?,
                prefix: decode_path(input)?,
            }
        } else {
            TreeQuestion::One(Decode::decode(input)?)
        };
        Ok(Self { identities, question })
    }
}

impl Encode for ZnodeQuestion {
    fn encode(&self, out: &mut Writer) {
        out.u8(self.what as u8);
        out.bytes(&self.path);
    }
}
impl Decode for ZnodeQuestion {
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        let found = input.u8()?;
        let unknown = WireError::UnknownTag { what: "question", tag: u64::from(found) };
        let what = Ask::ALL.get(usize::from(found)).copied().ok_or(unknown)?;
        Ok(Self { what, path: decode_path(input)? })
    }
}

impl Encode for TreeAnswer {
    fn encode(&self, out: &mut Writer) {
        match self {
            Self::One(answer) => answer.encode(out),
            Self::Multi(all) => {
                out.u8(tag::MULTI);
                out.varint(all.len() as u64);
                all.iter().for_each(|answer| answer.encode(out));
            }
            Self::Ephemerals(paths) => {
                out.u8(tag::EPHEMERALS);
                encode_texts(paths, out);
            }
            Self::Failed(error) => {
                out.u8(tag::FAILED);
                error.encode(out);
            }
        }
    }
}
impl Decode for TreeAnswer {
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        Ok(if input.skip_if(&[tag::MULTI]) {
            Self::Multi(decode_all(input, "answers", QUESTIONS_DECODED_MAX, 2)?)
        } else if input.skip_if(&[tag::EPHEMERALS]) {
            Self::Ephemerals(decode_texts(input)?)
        } else if input.skip_if(&[tag::FAILED]) {
            Self::Failed(Decode::decode(input)?)
        } else {
            Self::One(Decode::decode(input)?)
        })
    }
}

impl Encode for ZnodeAnswer {
    fn encode(&self, out: &mut Writer) {
        let stat = match self {
            Self::Stat(stat) => {
                out.u8(0);
                stat
            }
            Self::Data(data, stat) => {
                out.u8(1);
                encode_data(data.as_ref(), out);
                stat
            }
            Self::Children(names, stat) => {
                out.u8(2);
                encode_texts(names, out);
                stat
            }
            Self::Acl(list, stat) => {
                out.u8(3);
                encode_list(list, out);
                stat
            }
            Self::Descendants(count) => {
                out.u8(4);
                return out.varint(*count);
            }
            Self::Failed(error) => {
                out.u8(5);
                return error.encode(out);
            }
        };
        stat.encode(out);
    }
}
impl Decode for ZnodeAnswer {
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        Ok(match input.u8()? {
            0 => Self::Stat(Decode::decode(input)?),
            1 => Self::Data(decode_data(input)?, Decode::decode(input)?),
            2 => Self::Children(decode_texts(input)?, Decode::decode(input)?),
            3 => Self::Acl(decode_list(input)?, Decode::decode(input)?),
            4 => Self::Descendants(input.varint()?),
            5 => Self::Failed(Decode::decode(input)?),
            tag => return Err(WireError::UnknownTag { what: "answer", tag: u64::from(tag) }),
        })
    }
}

fn encode_texts(texts: &[Bytes], out: &mut Writer) {
    out.varint(texts.len() as u64);
    texts.iter().for_each(|text| out.bytes(text));
}

fn decode_texts(input: &mut Reader) -> Result<Vec<Bytes>, WireError> {
    let count = input.count("names", usize::MAX / 2, 1)?;
    let mut texts = Vec::with_capacity(count.min(64));
    for _ in 0..count {
        texts.push(input.bytes("name", usize::MAX)?);
    }
    Ok(texts)
}
