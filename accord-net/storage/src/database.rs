//! What the redb files have in common: how they are created, written and read, and how errors of
//! redb and damage are told.

use super::disk::{Access, Directory};
use super::error::{Damage, OpenError, StorageError};
use super::overlay::{Overlay, Through};
use redb::{Database, ReadTransaction, ReadableDatabase};
use std::io::{self, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A file that is written.
#[derive(Debug)]
pub(super) struct DatabaseFile {
    database: Database,
    path: String,
}

impl DatabaseFile {
    /// An empty file, in the place of what has its name.
    pub(super) fn create(
        directory: &dyn Directory,
        name: &str,
        cache_bytes: usize,
    ) -> Result<Self, StorageError> {
        let path = directory.describe(name);
        let file = directory.create(name);
        let file = file.map_err(|error| StorageError::io("create", path.clone(), &error))?;
        let created = builder(cache_bytes).create_with_backend(Through(file));
        let database = created.map_err(|error| write_error("create", &path, error))?;
        Ok(Self { database, path })
    }

    /// A file that is there and was found to be whole.
    pub(super) fn open(
        directory: &dyn Directory,
        name: &str,
        cache_bytes: usize,
    ) -> Result<Self, OpenError> {
        let path = directory.describe(name);
        let file = directory.open(name, Access::Write);
        let file = file.map_err(|error| OpenError::io("open", path.clone(), error))?;
        let opened = builder(cache_bytes).create_with_backend(Through(file));
        let database = opened.map_err(|error| read_error(&path, error))?;
        Ok(Self { database, path })
    }

    /// From now on errors name it so.
    pub(super) fn set_path(&mut self, path: String) {
        self.path = path;
    }

    /// Changes it, wholly or not at all, and durably.
    pub(super) fn transact(
        &self,
        act: impl FnOnce(&redb::WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), StorageError> {
        let failed = |error: redb::Error| write_error("write", &self.path, error);
        let transaction = self.database.begin_write().map_err(|error| failed(error.into()))?;
        act(&transaction).map_err(failed)?;
        transaction.commit().map_err(|error| failed(error.into()))
    }
}

/// A file that is read, and stays as it is.
pub(super) struct Reading {
    pub(super) transaction: ReadTransaction,
    pub(super) path: String,
    pub(super) file_bytes: u64,
    _database: Database,
}

/// Reads a file of which every page is as it was written.
pub(super) fn read<T>(
    directory: &dyn Directory,
    name: &str,
    cache_bytes: usize,
    act: impl FnOnce(&Reading) -> Result<T, OpenError>,
) -> Result<T, OpenError> {
    let path = directory.describe(name);
    let read = || act(&Reading::open(directory, name, cache_bytes)?);
    // redb answers damage with errors, and should it ever panic, that is damage as well.
    let read = catch_unwind(AssertUnwindSafe(read));
    read.unwrap_or_else(|_| Err(damage(&path, "redb cannot make sense of it".into()).into()))
}

impl Reading {
    fn open(directory: &dyn Directory, name: &str, cache_bytes: usize) -> Result<Self, OpenError> {
        let path = directory.describe(name);
        let failed = |error: io::Error| match error.kind() {
            ErrorKind::NotFound => damage(&path, "the file is missing".into()).into(),
            _ => OpenError::io("open", path.clone(), error),
        };
        let file = directory.open(name, Access::Read).map_err(failed)?;
        let file_bytes = file.len_bytes().map_err(failed)?;
        if file_bytes == 0 {
            return Err(damage(&path, "the file is empty".into()).into());
        }
        let overlay = Overlay::new(file).map_err(failed)?;
        let mut builder = builder(cache_bytes);
        let opened = builder.set_check_integrity_on_open(true).create_with_backend(overlay);
        let database = opened.map_err(|error| read_error(&path, error))?;
        let transaction = database.begin_read().map_err(|error| read_error(&path, error))?;
        Ok(Self { transaction, path, file_bytes, _database: database })
    }

    /// What an error of redb means.
    pub(super) fn error(&self, error: impl Into<redb::Error>) -> OpenError {
        read_error(&self.path, error)
    }

    /// It is damaged.
    pub(super) fn damage(&self, why: impl ToString) -> OpenError {
        damage(&self.path, why.to_string()).into()
    }
}

fn builder(cache_bytes: usize) -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(cache_bytes);
    builder
}

fn write_error(what: &'static str, path: &str, error: impl Into<redb::Error>) -> StorageError {
    match error.into() {
        redb::Error::Io(error) => StorageError::io(what, path.to_owned(), &error),
        error => StorageError::Io { what, path: path.to_owned(), why: error.to_string() },
    }
}

fn read_error(path: &str, error: impl Into<redb::Error>) -> OpenError {
    match error.into() {
        // What the system says about reading is an error of the system, but for what only the
        // contents can cause.
        redb::Error::Io(error)
            if !matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof) =>
        {
            OpenError::io("read", path.to_owned(), error)
        }
        error => damage(path, error.to_string()).into(),
    }
}

fn damage(path: &str, why: String) -> Damage {
    Damage { path: path.to_owned(), offset: None, after: None, why }
}
