//! The files of an assignment: each complete under its name, or not there.

use std::fs::{self, File};
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};

use bellwether_content::assignment::{DataWriter, Encryption, Head, Header, Part};
use bellwether_delta::Effort;

use super::{Making, PublishError};

/// Room for the header and the block hashes of a part.
const HEAD_LEN: u64 = 8 << 10;

/// As much is made ready to be sent before it is written.
const PIECE_LEN: usize = 1 << 20;

pub(super) struct Parts<'m> {
    out: PathBuf,
    header: Header,
    making: &'m Making<'m>,
    open: Option<OpenPart>,
    closed: Vec<OpenPart>,
    /// Bytes as they are sent, before they are written.
    sent: Vec<u8>,
}

/// A part whose data file is being written, or waits for its head.
struct OpenPart {
    header: Header,
    draft: Draft,
    len: u64,
    writer: Option<DataWriter>,
    blocks: bellwether_content::assignment::Blocks,
}

/// A file that is removed unless it is finished.
struct Draft {
    path: PathBuf,
    file: File,
}

impl Drop for Draft {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

impl Draft {
    fn create(path: PathBuf) -> Result<Self, PublishError> {
        let options = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path);
        match options {
            Ok(file) => Ok(Self { path, file }),
            Err(source) => Err(PublishError::Write { path, source }),
        }
    }

    fn failed(&self, source: io::Error) -> PublishError {
        PublishError::Write {
            path: self.path.clone(),
            source,
        }
    }
}

impl<'m> Parts<'m> {
    pub(super) fn new(out: &Path, header: Header, making: &'m Making<'m>) -> Self {
        Self {
            out: out.to_owned(),
            header,
            making,
            open: None,
            closed: Vec::new(),
            sent: Vec::new(),
        }
    }

    /// Adds a group to the part that is open, or to a new one if it would grow too large.
    pub(super) fn group(&mut self, bytes: &[u8]) -> Result<(), PublishError> {
        let size_max = self.making.coding.size_max.unwrap_or(u64::MAX);
        let full =
            |part: &OpenPart| part.len > 0 && part.len + bytes.len() as u64 + HEAD_LEN > size_max;
        if self.open.as_ref().is_some_and(full) {
            self.close()?;
        }
        let mut part = match self.open.take() {
            Some(part) => part,
            None => self.begin()?,
        };
        for piece in bytes.chunks(PIECE_LEN) {
            if let Some(writer) = &mut part.writer {
                writer.write(piece, &mut self.sent);
            }
            let written = part.draft.file.write_all(&self.sent);
            self.sent.clear();
            written.map_err(|source| part.draft.failed(source))?;
        }
        part.len += bytes.len() as u64;
        self.open = Some(part);
        Ok(())
    }

    fn begin(&self) -> Result<OpenPart, PublishError> {
        let mut header = self.header.clone();
        header.serial = header.serial_of_part(self.closed.len() as u32 + 1);
        header.encryption = self
            .making
            .sealing
            .map(|(_, salt)| Encryption { salt: salt() });
        let key = self.making.sealing.map(|(key, _)| key);
        let writer = DataWriter::new(key.zip(header.encryption.as_ref()));
        let extension = format!("data-{}.tmp", self.closed.len() + 1);
        Ok(OpenPart {
            draft: Draft::create(appended(&self.out, &extension))?,
            header,
            len: 0,
            writer: Some(writer),
            blocks: Default::default(),
        })
    }

    fn close(&mut self) -> Result<(), PublishError> {
        let Some(mut part) = self.open.take() else {
            return Ok(());
        };
        if let Some(writer) = part.writer.take() {
            part.blocks = writer.finish(&mut part.header, &mut self.sent);
        }
        let written = part.draft.file.write_all(&self.sent);
        self.sent.clear();
        written.map_err(|source| part.draft.failed(source))?;
        self.closed.push(part);
        Ok(())
    }

    /// Writes the heads and gives all files their names.
    pub(super) fn finish(
        mut self,
        body: &[u8],
    ) -> Result<Vec<(PathBuf, Header, u64)>, PublishError> {
        if self.open.is_none() && self.closed.is_empty() {
            self.open = Some(self.begin()?);
        }
        self.close()?;
        let count = self.closed.len() as u32;
        let mut finished = Vec::new();
        for (part, number) in std::mem::take(&mut self.closed).into_iter().zip(1..) {
            let name = match count {
                1 => self.out.clone(),
                _ => appended(&self.out, &number.to_string()),
            };
            let body = if number == 1 { body } else { &[] };
            let draft = Draft::create(appended(&name, "tmp"))?;
            finished.push(self.finish_part(part, draft, Part { number, count }, body, name)?);
        }
        // Only now: a failure above leaves the files of an earlier update as they were.
        let mut named = Vec::new();
        for (draft, name, header, len) in finished {
            fs::rename(&draft.path, &name).map_err(|source| draft.failed(source))?;
            named.push((name, header, len));
        }
        let directory = self
            .out
            .parent()
            .filter(|path| !path.as_os_str().is_empty());
        let synced =
            File::open(directory.unwrap_or_else(|| Path::new("."))).and_then(|dir| dir.sync_all());
        synced.map_err(|source| PublishError::Write {
            path: self.out.clone(),
            source,
        })?;
        Ok(named)
    }

    fn finish_part(
        &self,
        part: OpenPart,
        mut draft: Draft,
        place: Part,
        body: &[u8],
        name: PathBuf,
    ) -> Result<(Draft, PathBuf, Header, u64), PublishError> {
        let OpenPart {
            mut header,
            draft: mut data,
            blocks,
            ..
        } = part;
        header.part = place;
        let head = Head {
            header,
            body: body.to_vec(),
            blocks,
        };
        // Few bytes: the best means costs nothing, save where speed is all.
        let effort = self.making.coding.effort.max(Effort::Fast);
        let key = self.making.sealing.map(|(key, _)| key);
        let (header, bytes) = head.encode(effort, self.making.signing, key);
        let len = bytes.len() as u64 + header.data_len;
        let written = draft
            .file
            .write_all(&bytes)
            .and_then(|()| data.file.rewind())
            .and_then(|()| io::copy(&mut data.file, &mut draft.file).map(drop))
            .and_then(|()| draft.file.sync_all());
        written.map_err(|source| draft.failed(source))?;
        Ok((draft, name, header, len))
    }
}

fn appended(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}
