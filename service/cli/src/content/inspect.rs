use std::fmt;
use std::fs::File;
use std::path::PathBuf;

use bellwether_content::assignment::{self, Part, Trust};
use bellwether_content::body;
use bellwether_types::ByteSize;
use bellwether_wire::ContentKey;
use clap::Args;
use serde::Serialize;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::keys;
use crate::output::{Output, Report};

/// Show what an assignment holds: header, commands, and bytes by cause (new, patch, copy).
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// The assignment.
    file: PathBuf,
    /// The key that opens encrypted commands.
    #[arg(long, value_name = "KEYFILE")]
    decrypt: Option<PathBuf>,
}

/// What an assignment says, once it is proved whole.
#[derive(Debug, Serialize)]
struct Inspected {
    action: String,
    serial: u64,
    term: u64,
    site: Option<String>,
    group: Option<String>,
    job: Option<String>,
    base: Option<String>,
    target: Option<String>,
    part: u32,
    parts: u32,
    signer: Option<String>,
    encrypted: bool,
    bytes: u64,
    command_bytes: u64,
    data_bytes: u64,
    content_bytes: u64,
    /// Bytes of the data file that bring content by itself; the rest of it is framing.
    new_bytes: u64,
    /// Bytes of the data file that bring content by what the base has.
    patch_bytes: u64,
    commands: Vec<Counted>,
}

#[derive(Debug, Serialize)]
struct Counted {
    command: &'static str,
    count: usize,
}

impl Report for Inspected {
    const KIND: &'static str = "content.inspect";
}

impl fmt::Display for Inspected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or = |value: &Option<String>, none: &str| value.clone().unwrap_or_else(|| none.into());
        writeln!(
            f,
            "action   {}, serial {}, term {}",
            self.action, self.serial, self.term
        )?;
        if self.parts > 1 {
            writeln!(f, "part     {} of {}", self.part, self.parts)?;
        }
        writeln!(f, "site     {}", or(&self.site, "any"))?;
        writeln!(f, "from     {}", or(&self.base, "nothing"))?;
        writeln!(f, "to       {}", or(&self.target, "no version"))?;
        writeln!(f, "signer   {}", or(&self.signer, "not signed"))?;
        let encrypted = if self.encrypted {
            "encrypted"
        } else {
            "not encrypted"
        };
        writeln!(f, "content  {}, {encrypted}", ByteSize(self.content_bytes))?;
        writeln!(f, "bytes    {} in all", self.bytes)?;
        writeln!(f, "         {} commands", self.command_bytes)?;
        let (new, patch) = (self.new_bytes, self.patch_bytes);
        write!(
            f,
            "         {} data: {new} for new content, {patch} for patches",
            self.data_bytes
        )?;
        let copies = self
            .commands
            .iter()
            .find(|counted| counted.command == "copy");
        match copies.map_or(0, |counted| counted.count) {
            0 => {}
            1 => write!(f, ", 0 for 1 copy")?,
            copies => write!(f, ", 0 for {copies} copies")?,
        }
        for Counted { command, count } in &self.commands {
            write!(f, "\n{count:8} {command}")?;
        }
        Ok(())
    }
}

impl Inspect {
    pub(crate) fn run(self, output: &Output) -> Result<Exit, Failure> {
        let failed = |error| Failure::of_stage(error, std::slice::from_ref(&self.file));
        let key = self.decrypt.as_deref();
        let key = key
            .map(|file| keys::read_secret::<ContentKey>(file, output))
            .transpose()?;
        let file =
            File::open(&self.file).map_err(|error| Failure::io("open", &self.file, error))?;
        let bytes = file
            .metadata()
            .map_err(|error| Failure::io("read", &self.file, error))?
            .len();
        let file = std::io::BufReader::with_capacity(256 << 10, file);
        let opened = assignment::open(file, &Trust::Anyone, key.as_ref());
        let opened = opened.map_err(|error| failed(error.into()))?;
        let header = opened.header;
        let Part { number, count } = header.part;
        let commands = match opened.body.is_empty() {
            true => Vec::new(),
            false => body::count(&opened.body).map_err(|error| failed(error.into()))?,
        };
        let causes = assignment::causes(opened.data).map_err(|error| failed(error.into()))?;
        output.report(&Inspected {
            action: header.action.to_string(),
            serial: header.serial.0,
            term: header.term.0,
            site: header.site.map(|site| site.to_string()),
            group: header.group.map(|group| group.to_string()),
            job: header.job.map(|job| job.to_string()),
            base: header.base.map(|version| version.to_string()),
            target: header.target.map(|version| version.to_string()),
            part: number,
            parts: count,
            signer: header.signer.map(|key| key.id().to_string()),
            encrypted: header.encryption.is_some(),
            bytes,
            command_bytes: header.body_len,
            data_bytes: header.data_len,
            content_bytes: header.content_len,
            new_bytes: causes.new,
            patch_bytes: causes.patch,
            commands: commands
                .into_iter()
                .map(|(command, count)| Counted { command, count })
                .collect(),
        })?;
        Ok(Exit::Done)
    }
}
