//! Bytes in pieces, read as if they were one string.
//!
//! An image of the state is as large as the state. In one piece it would be a second copy, made for
//! each checkpoint and each transfer, and new memory is expensive. In pieces, an image shares the
//! large values with the state; only the bytes between them are copied. Readers of a part need not
//! know where pieces end.

use crate::wire::Writer;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;
use core::fmt;
use core::hash::{Hash, Hasher};
use core::ops::Range;

/// A string of bytes in any number of pieces. Equal to another with the same bytes, however both
/// are divided. A clone and a part of it share everything, and so cost nothing to drop while
/// something of it is left.
#[derive(Clone, Default)]
pub struct Pieces {
    pieces: Arc<[Piece]>,
    /// What of them it is. Invariant: it lies within them.
    range: Range<usize>,
}

struct Piece {
    /// Where the next piece begins. Invariant: no piece is empty.
    end: usize,
    bytes: Bytes,
}

impl Pieces {
    /// How many bytes all have together.
    pub fn len(&self) -> usize {
        self.range.len()
    }

    /// True if there is not one byte.
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// The pieces.
    pub fn iter(&self) -> impl Iterator<Item = Bytes> {
        self.within(0..self.len()).map(|(piece, range)| piece.slice(range))
    }

    /// The parts of which `range` consists.
    ///
    /// # Panics
    /// If it does not lie within, or ends before it begins.
    pub fn parts(&self, range: Range<usize>) -> impl Iterator<Item = &[u8]> {
        self.within(range).map(|(piece, range)| &piece[range])
    }

    /// A part, which shares its bytes.
    ///
    /// # Panics
    /// As [`Self::parts`].
    pub fn part(&self, range: Range<usize>) -> Self {
        Self { pieces: self.pieces.clone(), range: self.absolute(range) }
    }

    /// The bytes of `range` in one piece: copied, unless they are in one already.
    ///
    /// # Panics
    /// As [`Self::parts`].
    pub fn slice(&self, range: Range<usize>) -> Bytes {
        let mut within = self.within(range.clone());
        match (within.next(), within.next()) {
            (None, _) => Bytes::new(),
            (Some((piece, range)), None) => piece.slice(range),
            _ => {
                let mut whole = Vec::with_capacity(range.len());
                self.parts(range).for_each(|part| whole.extend_from_slice(part));
                Bytes::from(whole)
            }
        }
    }

    /// All in one piece: copied, unless it is one already.
    pub fn whole(&self) -> Bytes {
        self.slice(0..self.len())
    }

    /// `range` as one of the pieces.
    fn absolute(&self, range: Range<usize>) -> Range<usize> {
        assert!(range.start <= range.end && range.end <= self.len(), "a part lies within");
        self.range.start + range.start..self.range.start + range.end
    }

    /// The pieces that have something of `range`, each with what of it that is.
    fn within(&self, range: Range<usize>) -> impl Iterator<Item = (&Bytes, Range<usize>)> {
        let Range { start, end } = self.absolute(range);
        let first = self.pieces.partition_point(|piece| piece.end <= start);
        let within = self.pieces[first..].iter().map(move |piece| {
            let begin = piece.end - piece.bytes.len();
            let (from, to) = (start.max(begin), end.min(piece.end));
            (&piece.bytes, from.saturating_sub(begin)..to.saturating_sub(begin))
        });
        within.take_while(|(_, range)| !range.is_empty())
    }
}

impl FromIterator<Bytes> for Pieces {
    fn from_iter<I: IntoIterator<Item = Bytes>>(pieces: I) -> Self {
        let pieces = pieces.into_iter().filter(|bytes| !bytes.is_empty());
        let ends = pieces.scan(0, |end, bytes| {
            *end += bytes.len();
            Some(Piece { end: *end, bytes })
        });
        let pieces: Arc<[Piece]> = ends.collect();
        let range = 0..pieces.last().map_or(0, |piece| piece.end);
        Self { pieces, range }
    }
}
impl From<Bytes> for Pieces {
    fn from(bytes: Bytes) -> Self {
        core::iter::once(bytes).collect()
    }
}
impl PartialEq for Pieces {
    fn eq(&self, other: &Self) -> bool {
        let mut at = 0;
        let mut same = |mut part: &[u8]| {
            let range = at..at + part.len();
            at = range.end;
            other.parts(range).all(|other| part.split_off(..other.len()) == Some(other))
        };
        self.len() == other.len() && self.parts(0..self.len()).all(&mut same)
    }
}
impl Eq for Pieces {}
impl Hash for Pieces {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.whole().hash(hasher);
    }
}
impl fmt::Debug for Pieces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes in {} pieces", self.len(), self.iter().count())
    }
}

/// Pieces being put together.
#[derive(Debug, Default)]
pub(crate) struct PiecesWriter {
    /// What is not shared, one after the other.
    pub(crate) copied: Writer,
    /// What is, each with how much of `copied` stands before it.
    shared: Vec<(usize, Bytes)>,
    shared_bytes: usize,
}

/// A part of what was put together.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part<'a> {
    Copied(&'a [u8]),
    Shared(&'a Bytes),
}

impl<'a> Part<'a> {
    pub(crate) fn bytes(self) -> &'a [u8] {
        match self {
            Self::Copied(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

impl PiecesWriter {
    /// With room for this many copied bytes.
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self { copied: Writer::with_capacity(bytes), ..Self::default() }
    }

    pub(crate) const fn len(&self) -> usize {
        self.copied.len() + self.shared_bytes
    }

    /// Appends what need not be copied.
    pub(crate) fn share(&mut self, bytes: Bytes) {
        self.shared_bytes += bytes.len();
        self.shared.push((self.copied.len(), bytes));
    }

    /// Appends a part of something else, shared if it was.
    pub(crate) fn part(&mut self, part: Part<'_>) {
        match part {
            Part::Copied(bytes) => self.copied.raw(bytes),
            Part::Shared(bytes) => self.share(bytes.clone()),
        }
    }

    /// What was appended, in order.
    pub(crate) fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        let copied = self.copied.as_slice();
        let begins = core::iter::once(0).chain(self.shared.iter().map(|(at, _)| *at));
        let before = self.shared.iter().zip(begins).flat_map(|((at, bytes), begin)| {
            [Part::Copied(&copied[begin..*at]), Part::Shared(bytes)]
        });
        let last = self.shared.last().map_or(0, |(at, _)| *at);
        before.chain(core::iter::once(Part::Copied(&copied[last..])))
    }

    /// Empties it and keeps its memory.
    pub(crate) fn clear(&mut self) {
        self.copied.clear();
        self.shared.clear();
        self.shared_bytes = 0;
    }

    pub(crate) fn finish(self) -> Pieces {
        let copied = self.copied.finish();
        let mut from = 0;
        let mut pieces = Vec::with_capacity(2 * self.shared.len() + 1);
        for (at, bytes) in self.shared {
            pieces.extend([copied.slice(from..at), bytes]);
            from = at;
        }
        pieces.push(copied.slice(from..));
        pieces.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pieces_read_as_one_string(
            pieces in vec(vec(any::<u8>(), 0..9), 0..9),
            a in 0usize..80,
            b in 0usize..80,
        ) {
            let mut naive = pieces.concat();
            let made: Pieces = pieces.into_iter().map(Bytes::from).collect();
            let (a, b) = (a.min(naive.len()), b.min(naive.len()));
            let range = a.min(b)..a.max(b);
            prop_assert_eq!(made.len(), naive.len());
            prop_assert_eq!(made.iter().collect::<Vec<_>>().concat(), &naive[..]);
            prop_assert_eq!(made.is_empty(), naive.is_empty());
            prop_assert_eq!(&made.whole()[..], &naive[..]);
            prop_assert_eq!(&made.slice(range.clone())[..], &naive[range.clone()]);
            let parts: Vec<_> = made.parts(range.clone()).collect();
            prop_assert!(parts.iter().all(|part| !part.is_empty()));
            prop_assert_eq!(parts.concat(), &naive[range.clone()]);
            let part = made.part(range.clone());
            let middle = part.len() / 3..part.len() / 2;
            prop_assert_eq!(&part.slice(middle.clone())[..], &naive[range.clone()][middle]);
            prop_assert_eq!(part.iter().collect::<Vec<_>>().concat(), &naive[range.clone()]);
            prop_assert_eq!(part.is_empty(), range.is_empty());
            prop_assert_eq!(part, Pieces::from(Bytes::copy_from_slice(&naive[range])));
            let same = Pieces::from(Bytes::copy_from_slice(&naive));
            prop_assert_eq!(&made, &same);
            prop_assert_eq!(&same, &made);
            for at in 0..naive.len() {
                naive[at] ^= 1;
                let other = Pieces::from(Bytes::copy_from_slice(&naive));
                prop_assert_ne!(&made, &other);
                prop_assert_ne!(&other, &made);
                naive[at] ^= 1;
            }
        }

        #[test]
        fn what_is_put_together_stands_in_order(
            parts in vec((any::<bool>(), vec(any::<u8>(), 0..9)), 0..9),
        ) {
            let mut writer = PiecesWriter::default();
            for (shared, bytes) in &parts {
                match shared {
                    true => writer.share(Bytes::copy_from_slice(bytes)),
                    false => writer.copied.raw(bytes),
                }
            }
            let naive: Vec<u8> = parts.into_iter().flat_map(|(_, bytes)| bytes).collect();
            prop_assert_eq!(writer.len(), naive.len());
            let mut again = PiecesWriter::default();
            writer.parts().for_each(|part| again.part(part));
            prop_assert_eq!(writer.finish(), Pieces::from(Bytes::from(naive)));
            let (bytes, pieces) = (again.len(), again.finish());
            prop_assert_eq!(bytes, pieces.len());
        }
    }

    #[test]
    fn what_is_in_one_piece_is_not_copied() {
        let bytes = Bytes::from(Vec::from([7; 100]));
        let pieces: Pieces = [Bytes::from_static(b"head"), bytes.clone()].into_iter().collect();
        assert_eq!(pieces.slice(14..24).as_ptr(), bytes[10..].as_ptr());
        assert_eq!(Pieces::from(bytes.clone()).whole().as_ptr(), bytes.as_ptr());
    }
}
