//! Keys and values as the objects hold them: small ones inline, large ones in memory of their own.
//!
//! What arrives is a slice of the message that it came in; keeping the slice would keep the
//! message, so bytes are copied once, on their way into the store. A key of up to 22 bytes and a
//! value of up to 15 need no allocation, and comparing keys needs no pointer to be followed.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;
use core::borrow::Borrow;
use core::cmp::Ordering;
use core::fmt;
use core::ops::Deref;

/// The longest key that is held inline, in bytes.
const KEY_INLINE_MAX: usize = 22;
/// The largest value that is held inline, in bytes.
const VALUE_INLINE_MAX: usize = 15;
/// The smallest value that an image shares instead of copying it, in bytes. To share one costs a
/// small allocation; to copy one, as much new memory as it has bytes.
const VALUE_SHARED_MIN: usize = 1 << 10;

/// A key. Orders as its bytes do.
#[derive(Clone)]
pub(super) struct Key(KeyRepr);

#[derive(Clone)]
enum KeyRepr {
    /// Invariant: `len` is at most [`KEY_INLINE_MAX`].
    Inline {
        len: u8,
        bytes: [u8; KEY_INLINE_MAX],
    },
    Heap(Box<[u8]>),
}

impl Key {
    /// A copy of `key`.
    pub(super) fn new(key: &[u8]) -> Self {
        if key.len() > KEY_INLINE_MAX {
            return Self(KeyRepr::Heap(key.into()));
        }
        let mut bytes = [0; KEY_INLINE_MAX];
        bytes[..key.len()].copy_from_slice(key);
        Self(KeyRepr::Inline { len: key.len() as u8, bytes })
    }

    /// A copy in shareable form.
    pub(super) fn to_bytes(&self) -> Bytes {
        Bytes::copy_from_slice(self)
    }
}

impl Default for Key {
    fn default() -> Self {
        Self::new(&[])
    }
}
impl Deref for Key {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            KeyRepr::Inline { len, bytes } => &bytes[..usize::from(*len)],
            KeyRepr::Heap(bytes) => bytes,
        }
    }
}
impl Borrow<[u8]> for Key {
    #[inline]
    fn borrow(&self) -> &[u8] {
        self
    }
}
impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self[..] == other[..]
    }
}
impl Eq for Key {}
impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Key {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        self[..].cmp(&other[..])
    }
}
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.escape_ascii())
    }
}

/// A value.
#[derive(Clone)]
pub(super) struct Value(ValueRepr);

#[derive(Clone)]
enum ValueRepr {
    /// Invariant: `len` is at most [`VALUE_INLINE_MAX`]; the bytes behind it are zero.
    Inline { len: u8, bytes: [u8; VALUE_INLINE_MAX] },
    /// Shared with the images that hold it; copied when it is changed while one does.
    Heap(Arc<Vec<u8>>),
}

impl Value {
    /// The value without bytes.
    pub(super) const EMPTY: Self = Self(ValueRepr::Inline { len: 0, bytes: [0; VALUE_INLINE_MAX] });

    /// A copy of `value`.
    pub(super) fn new(value: &[u8]) -> Self {
        let mut copy = Self::EMPTY;
        copy.put(0, value);
        copy
    }

    /// The whole value, shared: it stays as it is when this one changes. None if it is so small
    /// that it is better copied.
    pub(super) fn shared(&self) -> Option<Bytes> {
        match &self.0 {
            ValueRepr::Heap(bytes) if self.is_shared() => {
                Some(Bytes::from_owner(Shared(bytes.clone())))
            }
            _ => None,
        }
    }

    /// True if [`Self::shared`] gives something.
    pub(super) fn is_shared(&self) -> bool {
        self.len() >= VALUE_SHARED_MIN
    }

    /// A copy of a part in shareable form: up to `length_max` bytes from `offset`.
    pub(super) fn part(&self, offset: u64, length_max: u64) -> Bytes {
        let size = self.len() as u64;
        let from = offset.min(size);
        let until = from + length_max.min(size - from);
        Bytes::copy_from_slice(&self[from as usize..until as usize])
    }

    /// Puts `data` at `offset`; a gap before it is filled with zeros, the rest stays.
    pub(super) fn put(&mut self, offset: usize, data: &[u8]) {
        let end = offset + data.len();
        if end > self.len() {
            self.resize(end);
        }
        self.as_mut_slice()[offset..end].copy_from_slice(data);
    }

    /// Makes it `size` bytes long, cutting it or filling it with zeros.
    pub(super) fn resize(&mut self, size: usize) {
        match &mut self.0 {
            ValueRepr::Heap(bytes) if bytes.is_empty() => {
                *self = Self::EMPTY;
                self.resize(size);
            }
            ValueRepr::Heap(bytes) => Arc::make_mut(bytes).resize(size, 0),
            ValueRepr::Inline { len, bytes } if size <= VALUE_INLINE_MAX => {
                bytes[size.min(usize::from(*len))..].fill(0);
                *len = size as u8;
            }
            ValueRepr::Inline { len, bytes } => {
                let mut heap = Vec::with_capacity(size);
                heap.extend_from_slice(&bytes[..usize::from(*len)]);
                heap.resize(size, 0);
                self.0 = ValueRepr::Heap(Arc::new(heap));
            }
        }
    }

    fn as_mut_slice(&mut self) -> &mut [u8] {
        match &mut self.0 {
            ValueRepr::Inline { len, bytes } => &mut bytes[..usize::from(*len)],
            ValueRepr::Heap(bytes) => Arc::make_mut(bytes).as_mut_slice(),
        }
    }
}

/// Keeps a value for those who share it.
struct Shared(Arc<Vec<u8>>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Deref for Value {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            ValueRepr::Inline { len, bytes } => &bytes[..usize::from(*len)],
            ValueRepr::Heap(bytes) => bytes,
        }
    }
}
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_key_and_a_value_take_three_words() {
        assert_eq!(size_of::<Key>(), 24);
        assert_eq!(size_of::<Value>(), 24);
    }

    #[test]
    fn what_is_cut_off_does_not_show_in_a_later_gap() {
        let mut value = Value::EMPTY;
        value.put(0, b"abcdef");
        value.resize(2);
        value.put(5, b"z");
        assert_eq!(&value[..], b"ab\0\0\0z");
    }

    proptest! {
        #[test]
        fn keys_order_as_their_bytes(a in bytes(40), b in bytes(40)) {
            let (x, y) = (Key::new(&a), Key::new(&b));
            prop_assert_eq!(x.cmp(&y), a.cmp(&b));
            prop_assert_eq!(x == y, a == b);
            prop_assert_eq!(&x[..], &a[..]);
            prop_assert_eq!(&x.to_bytes()[..], &a[..]);
        }

        #[test]
        fn values_behave_as_vectors(edits in edits()) {
            let mut value = Value::EMPTY;
            let mut naive: Vec<u8> = Vec::new();
            for (at, data, cut) in edits {
                if cut {
                    value.resize(at);
                    naive.resize(at, 0);
                } else {
                    value.put(at, &data);
                    let end = at + data.len();
                    naive.resize(naive.len().max(end), 0);
                    naive[at..end].copy_from_slice(&data);
                }
                prop_assert_eq!(&value[..], &naive[..]);
                prop_assert_eq!(&value.clone()[..], &naive[..]);
            }
            let part = value.part(3, 5);
            let from = naive.len().min(3);
            prop_assert_eq!(&part[..], &naive[from..naive.len().min(8)]);
        }
    }

    fn edits() -> impl Strategy<Value = Vec<(usize, Vec<u8>, bool)>> {
        // Small ones stay in place, larger ones move to the heap: each is met in its own runs.
        let of = |size: usize| {
            proptest::collection::vec((0..size, bytes(size / 2), any::<bool>()), 0..20)
        };
        prop_oneof![of(12), of(40)]
    }

    fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(any::<u8>(), 0..max)
    }
}
