//! `docs/protocol.md` against the code, and against a client that was written from it alone.

mod document;
mod python;
