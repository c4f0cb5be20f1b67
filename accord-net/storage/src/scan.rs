//! Reads the log back after a start: every frame from a position on, up to the end.
//!
//! A frame is written only when the one before it is durable. So at most one frame may be torn, the
//! last one, and nothing of a later frame may be found anywhere behind it. Whatever does not fit
//! this is damage to what was synced, and is named; see [`super::sector`] for how a single sector
//! tells the two apart.

use super::disk::{Access, Directory, SECTOR_BYTES};
use super::error::{Damage, OpenError};
use super::sector::{Found, HEAD_BYTES, Head, PAYLOAD_BYTES, Place, payload};
use super::segment::{self, Owner, Segment};
use accord_core::ids::Index;
use accord_core::replica::io::Record;
use accord_core::wire::{Decode, Reader};
use bytes::Bytes;

/// Where a frame is, or is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    /// Its segment.
    pub(super) segment: u64,
    /// Its first sector.
    pub(super) sector: u64,
    /// The number of the frame: counts from 1 over all segments.
    pub(super) frame: u64,
    /// The number of its first record.
    pub(super) first: u64,
}

/// What the log holds.
#[derive(Debug)]
pub(super) struct Scanned {
    /// The frames' records with their numbers, in order.
    pub(super) records: Vec<(u64, Record)>,
    /// Where each frame begins.
    pub(super) frames: Vec<Position>,
    /// The latest base that any of them knows of.
    pub(super) base: u64,
    /// Where the next frame goes.
    pub(super) end: Position,
    /// The segment that it goes to.
    pub(super) segment: Segment,
    /// Sectors of an unfinished frame behind the end.
    pub(super) torn: Vec<u64>,
    /// The last segment that is there.
    pub(super) last_segment: u64,
}

/// What stands where a frame is expected.
enum Step {
    Frame(Head, Bytes),
    /// A frame that is not whole, or none.
    Hole,
}

/// Reads a log.
#[derive(Debug)]
pub(super) struct Scanner<'a> {
    /// Where the segments are.
    pub(super) directory: &'a dyn Directory,
    /// Whose they are.
    pub(super) owner: Owner,
    /// The last segment that must be there.
    pub(super) last_segment: u64,
    /// The last entry that was read, for people.
    pub(super) after: Option<Index>,
}

impl Scanner<'_> {
    /// Reads all frames from `start` on. Of the records, those before `from` are left out.
    pub(super) fn scan(&mut self, start: Position, from: u64) -> Result<Scanned, OpenError> {
        let mut at = start;
        let mut window = Window::new(self.open(at.segment)?);
        let (mut records, mut frames, mut base) = (Vec::new(), Vec::new(), 0);
        loop {
            match self.read_frame(&mut window, at)? {
                Step::Frame(head, body) => {
                    self.decode(&window, at, head, &body, from, &mut records)?;
                    frames.push(at);
                    base = base.max(head.base);
                    at.sector += head.sectors();
                    at.frame += 1;
                    at.first += u64::from(head.records);
                }
                Step::Hole => {
                    let torn = self.hole(&mut window, at)?;
                    let next = if torn.is_empty() { self.follow(at)? } else { self.ends(at)? };
                    let Some(next) = next else {
                        let (segment, last_segment) = (window.segment, self.last_segment);
                        return Ok(Scanned {
                            records,
                            frames,
                            base,
                            end: at,
                            segment,
                            torn,
                            last_segment,
                        });
                    };
                    at = Position { segment: next.id, sector: 1, ..at };
                    window = Window::new(next);
                }
            }
        }
    }

    fn open(&self, id: u64) -> Result<Segment, OpenError> {
        segment::open(self.directory, self.owner, id, Access::Read)
    }

    /// The next segment, if there is one: the frame at `at` may be there.
    fn follow(&mut self, at: Position) -> Result<Option<Segment>, OpenError> {
        let id = at.segment + 1;
        if id > self.last_segment {
            return Ok(None);
        }
        let next = self.open(id)?;
        let mut window = Window::new(next.clone());
        let used = match next.sectors > 1 {
            true => self.sector(&mut window, 1)?.iter().any(|byte| *byte != 0),
            false => false,
        };
        if used {
            return Ok(Some(next));
        }
        // Its first sector may be one that a loss of power kept from being written.
        let next_at = Position { segment: id, sector: 1, ..at };
        let torn = self.hole(&mut window, next_at)?;
        if torn.is_empty() && id < self.last_segment {
            // The one after is made when this one is first used.
            return Err(self.damage(id, 1, "a synced frame is gone").into());
        }
        Ok((!torn.is_empty()).then_some(next))
    }

    /// Behind an unfinished frame no segment may be used.
    fn ends(&mut self, at: Position) -> Result<Option<Segment>, OpenError> {
        match self.follow(at)? {
            None => Ok(None),
            Some(_) => Err(self.damage(at.segment, at.sector, "a synced frame is gone").into()),
        }
    }

    fn read_frame(&self, window: &mut Window, at: Position) -> Result<Step, OpenError> {
        let room = window.segment.sectors.saturating_sub(at.sector);
        if room == 0 {
            return Ok(Step::Hole);
        }
        let place = self.place(at);
        let head = match place.judge(self.sector(window, at.sector)?) {
            Found::Zero => return Ok(Step::Hole),
            Found::Damaged => return Err(self.rot(at.segment, at.sector).into()),
            Found::Valid => Head::of(payload(self.sector(window, at.sector)?)),
        };
        let sectors = head.sectors();
        if head.frame != at.frame || head.first != at.first || sectors > room {
            let why = "a frame does not follow the one before it";
            return Err(self.damage(at.segment, at.sector, why).into());
        }
        let mut whole = true;
        let mut body = Vec::with_capacity(sectors as usize * PAYLOAD_BYTES);
        for further in 0..sectors {
            let place = place.further(further);
            let sector = self.sector(window, place.sector)?;
            match place.judge(sector) {
                Found::Valid => body.extend_from_slice(payload(sector)),
                Found::Zero => whole = false,
                Found::Damaged => return Err(self.rot(at.segment, place.sector).into()),
            }
        }
        if !whole {
            return Ok(Step::Hole);
        }
        let body = Bytes::from(body).slice(HEAD_BYTES..HEAD_BYTES + head.bytes as usize);
        Ok(Step::Frame(head, body))
    }

    fn decode(
        &mut self,
        window: &Window,
        at: Position,
        head: Head,
        body: &Bytes,
        from: u64,
        records: &mut Vec<(u64, Record)>,
    ) -> Result<(), OpenError> {
        let mut reader = Reader::new(body.clone());
        for number in at.first..at.first + u64::from(head.records) {
            let record = reader.bytes("record", usize::MAX).and_then(|bytes| {
                let skipped = number < from;
                if skipped { Ok(None) } else { Record::from_bytes(&bytes).map(Some) }
            });
            let record = record.map_err(|error| {
                let why = format!("record {number} cannot be read: {error}");
                self.damage(window.segment.id, at.sector, &why)
            })?;
            if let Some(Record::Append(entry)) = &record {
                self.after = Some(entry.index);
            }
            records.extend(record.map(|record| (number, record)));
        }
        let trailing = |_| self.damage(window.segment.id, at.sector, "bytes follow the records");
        Ok(reader.finish().map_err(trailing)?)
    }

    /// Checks that from `at` to the segment's end there is nothing but parts of the frame that is
    /// missing there. Returns where these are.
    fn hole(&self, window: &mut Window, at: Position) -> Result<Vec<u64>, OpenError> {
        let mut torn = Vec::new();
        let place = self.place(at);
        for further in 0..window.segment.sectors.saturating_sub(at.sector) {
            let place = place.further(further);
            match place.judge(self.sector(window, place.sector)?) {
                Found::Zero => {}
                Found::Valid => torn.push(place.sector),
                Found::Damaged => return Err(self.rot(at.segment, place.sector).into()),
            }
        }
        Ok(torn)
    }

    fn place(&self, at: Position) -> Place {
        let Position { segment, sector, frame, .. } = at;
        Place { store: self.owner.store, segment, sector, frame }
    }

    fn sector<'w>(&self, window: &'w mut Window, sector: u64) -> Result<&'w [u8], Damage> {
        let id = window.segment.id;
        window
            .get(sector)
            .map_err(|error| self.damage(id, sector, &format!("it cannot be read: {error}")))
    }

    fn rot(&self, segment: u64, sector: u64) -> Damage {
        self.damage(segment, sector, "the checksum of a sector does not match")
    }

    fn damage(&self, segment: u64, sector: u64, why: &str) -> Damage {
        Damage {
            path: self.directory.describe(&segment::name(segment)),
            offset: Some(sector * SECTOR_BYTES as u64),
            after: self.after,
            why: why.to_owned(),
        }
    }
}

/// A part of a segment in memory.
struct Window {
    segment: Segment,
    start: u64,
    bytes: Vec<u8>,
}

const WINDOW_SECTORS: u64 = 2048;

impl Window {
    fn new(segment: Segment) -> Self {
        Self { segment, start: 0, bytes: Vec::new() }
    }

    /// The contents of a sector, which must be one of the segment's.
    fn get(&mut self, sector: u64) -> std::io::Result<&[u8]> {
        assert!(sector < self.segment.sectors, "only the segment's own sectors are read");
        let held = self.start..self.start + (self.bytes.len() / SECTOR_BYTES) as u64;
        if !held.contains(&sector) {
            let count = WINDOW_SECTORS.min(self.segment.sectors - sector);
            self.bytes.resize(count as usize * SECTOR_BYTES, 0);
            let read = self.segment.file.read_at(sector * SECTOR_BYTES as u64, &mut self.bytes);
            if let Err(error) = read {
                self.bytes.clear();
                return Err(error);
            }
            self.start = sector;
        }
        let from = (sector - self.start) as usize * SECTOR_BYTES;
        Ok(&self.bytes[from..from + SECTOR_BYTES])
    }
}
