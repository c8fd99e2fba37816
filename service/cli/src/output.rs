use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use clap::error::ErrorKind;
use serde::Serialize;

use crate::cli::{Format, Talk};
use crate::exit::Exit;
use crate::failure::Failure;

/// Where results, errors and talk go, and in which form. Colours are left out where `NO_COLOR`,
/// `TERM=dumb` or a pipe says so.
#[derive(Debug)]
pub(crate) struct Output {
    talk: Talk,
}

/// What a command found out: fields for programs, text for people.
pub(crate) trait Report: Serialize + fmt::Display {
    /// Names the shape of the fields.
    const KIND: &'static str;
}

/// Changes when a field changes its meaning or goes away; new fields do not change it.
const FORMAT: u32 = 1;

#[derive(Serialize)]
struct Envelope<'a, T> {
    format: u32,
    kind: &'static str,
    #[serde(flatten)]
    content: &'a T,
}

#[derive(Serialize)]
struct ErrorContent<'a> {
    exit_code: u8,
    name: &'static str,
    message: String,
    causes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
}

const ERROR: Style = AnsiColor::Red.on_default().bold();
const HINT: Style = AnsiColor::Cyan.on_default().bold();

impl Output {
    pub(crate) fn new(talk: Talk) -> Self {
        Self { talk }
    }

    /// Prints a result.
    pub(crate) fn report<R: Report>(&self, report: &R) -> Result<(), Failure> {
        let mut out = anstream::stdout().lock();
        let printed = match self.talk.output {
            Format::Text => writeln!(out, "{report}"),
            Format::Json => writeln!(out, "{}", json(R::KIND, report)),
        };
        match printed.and_then(|()| out.flush()) {
            // Who reads has enough: `| head` is no failure.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Err(error) => Err(Failure::new(Exit::of_io(&error), error)),
            Ok(()) => Ok(()),
        }
    }

    /// Tells people how it goes; programs and the quiet are spared.
    pub(crate) fn say(&self, line: impl fmt::Display) {
        if !self.talk.quiet && self.talk.output == Format::Text {
            let _ = writeln!(anstream::stderr(), "{line}");
        }
    }

    /// Tells those who asked for more.
    pub(crate) fn detail(&self, line: impl fmt::Display) {
        if self.talk.verbose {
            let _ = writeln!(anstream::stderr(), "{line}");
        }
    }

    /// Whether progress is drawn, written as lines, or kept silent.
    pub(crate) fn liveliness(&self) -> Liveliness {
        if self.talk.quiet {
            Liveliness::Silent
        } else if io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|t| t != "dumb")
        {
            Liveliness::Drawn
        } else {
            Liveliness::Lines
        }
    }

    /// Prints why a command failed, its causes, and what to do.
    pub(crate) fn fail(&self, failure: &Failure) -> ExitCode {
        print_failure(self.talk.output, failure);
        failure.exit.into()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Liveliness {
    Drawn,
    Lines,
    Silent,
}

/// Prints what is wrong with the command line, or the help that was asked for.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    let help = !error.use_stderr();
    if help || !wants_json(std::env::args_os()) {
        let _ = error.print();
    } else {
        let text = error.to_string();
        let message = text.trim_start_matches("error: ").trim_end().to_owned();
        print_failure(Format::Json, &Failure::new(Exit::Usage, message));
    }
    let explained = help || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    if explained && help {
        Exit::Done.into()
    } else {
        Exit::Usage.into()
    }
}

/// The arguments could not be parsed, so this looks at them as they are.
fn wants_json(arguments: impl IntoIterator<Item = std::ffi::OsString>) -> bool {
    let mut previous_asks = false;
    arguments.into_iter().any(|argument| {
        let argument = argument.to_string_lossy();
        let wants = matches!(&*argument, "-ojson" | "-o=json" | "--output=json")
            || (previous_asks && argument == "json");
        previous_asks = matches!(&*argument, "-o" | "--output");
        wants
    })
}

fn print_failure(format: Format, failure: &Failure) {
    let mut messages = failure.chain().map(ToString::to_string);
    let message = messages.next().expect("a chain has its first error");
    let mut err = anstream::stderr().lock();
    // Nobody is left to be told if this fails.
    let _ = match format {
        Format::Json => {
            let line = failure.exit.line();
            let content = ErrorContent {
                exit_code: line.code,
                name: line.name,
                message,
                causes: messages.collect(),
                hint: failure.hint.as_deref(),
            };
            writeln!(err, "{}", json("error", &content))
        }
        Format::Text => write_failure(&mut err, &message, messages, failure.hint.as_deref()),
    };
}

fn write_failure(
    err: &mut impl Write,
    message: &str,
    causes: impl Iterator<Item = String>,
    hint: Option<&str>,
) -> io::Result<()> {
    writeln!(err, "{ERROR}error:{ERROR:#} {message}")?;
    for cause in causes {
        writeln!(err, "  because: {cause}")?;
    }
    if let Some(hint) = hint {
        writeln!(err, "{HINT}hint:{HINT:#} {hint}")?;
    }
    Ok(())
}

fn json<T: Serialize>(kind: &'static str, content: &T) -> String {
    let envelope = Envelope {
        format: FORMAT,
        kind,
        content,
    };
    serde_json::to_string(&envelope).expect("reports have text keys and finite numbers")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_recognised_on_a_line_that_does_not_parse() {
        let wants = |line: &str| wants_json(line.split(' ').map(Into::into));
        assert!(wants("bellwether content scam --output json"));
        assert!(wants("bellwether -ojson x"));
        assert!(!wants("bellwether content scan json"));
        assert!(!wants("bellwether -o text json"));
    }
}
