use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use bellwether_multicast::{Rate, Slow};
use bellwether_transfer::{self as transfer, SendSettings, Sending};
use bellwether_types::{ByteSize, Name};
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::{Group, block_on};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, Report};
use crate::progress::Progress;

/// Send files to all receivers of a group, with one copy of the bytes on the wire.
///
/// Ends when all receivers have everything, proved and on disk, or are given up. Exit code 0: all have it; 6: enough have
/// it (--quorum); 1: too few.
#[derive(Debug, Args)]
pub(crate) struct Send {
    /// Files, and directories with all they hold.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    group: Group,
    /// How many receivers are waited for; otherwise whoever answers within --patience.
    #[arg(long, conflicts_with = "members")]
    expect: Option<usize>,
    /// Names of the receivers, separated by commas: these and no others.
    #[arg(long, value_delimiter = ',')]
    members: Vec<Name>,
    /// How many receivers must have it, if not all.
    #[arg(long)]
    quorum: Option<usize>,
    /// How many seconds receivers are waited for.
    #[arg(long, default_value_t = 5.0)]
    patience: f64,
    /// `auto` (1 Gbit/s, and less where receivers lose what comes too fast), or bits a second, as 50M or 1.5G: to be given
    /// where a link is slower or faster than that.
    #[arg(long, default_value = "auto")]
    rate: RateArgument,
    /// What becomes of a receiver that loses far more than the others.
    #[arg(long, value_enum, default_value_t)]
    loss_policy: LossPolicy,
    /// Encrypt what is sent.
    #[arg(long)]
    encrypt: bool,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum LossPolicy {
    /// All wait for it.
    Wait,
    /// It fetches by unicast from one who has it.
    #[default]
    Unicast,
    /// It is left behind.
    Leave,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct RateArgument(Rate);

/// Adaptive rates stay between these, bits a second.
const RATE_FLOOR: u64 = 1_000_000;
const RATE_CEILING: u64 = 1_000_000_000;

impl FromStr for RateArgument {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "`auto`, or bits a second of 10000 or more, as 800k, 50M or 1.5G";
        if text == "auto" {
            return Ok(Self(Rate::Adaptive {
                floor: RATE_FLOOR,
                ceiling: RATE_CEILING,
            }));
        }
        let (number, unit) = match text.strip_suffix(['k', 'M', 'G']) {
            Some(number) => (number, &text[number.len()..]),
            None => (text, ""),
        };
        let unit = match unit {
            "k" => 1e3,
            "M" => 1e6,
            "G" => 1e9,
            _ => 1.0,
        };
        let bits = number.parse::<f64>().map_err(|_| FORM)? * unit;
        match (1e4..=1e12).contains(&bits) {
            true => Ok(Self(Rate::Fixed(bits as u64))),
            false => Err(FORM),
        }
    }
}

impl Send {
    pub(crate) fn run(self, output: &Output) -> Result<Exit, Failure> {
        let patience = Duration::try_from_secs_f64(self.patience)
            .map_err(|error| Failure::new(Exit::Usage, format!("--patience: {error}")))?;
        let settings = SendSettings {
            files: self.files,
            members: self.members,
            expect: self.expect,
            patience,
            rate: self.rate.0,
            slow: match self.loss_policy {
                LossPolicy::Wait => Slow::Wait,
                LossPolicy::Unicast => Slow::Unicast,
                LossPolicy::Leave => Slow::Leave,
            },
            quorum: self.quorum,
            encrypted: self.encrypt,
        };
        let group = self.group.settings("sender")?;
        let progress = Progress::new(output, "sending");
        let mut total = 0;
        let mut tell = |sending| match sending {
            Sending::Found(count) => progress.say(format!("{count} receivers")),
            Sending::Reached {
                wire_bytes,
                rate,
                complete,
                slowest,
            } => {
                // What goes again comes on top: the end is reached when all have it.
                progress.reach(wire_bytes.min(total), total);
                let slowest = slowest.iter();
                let slowest = slowest.map(|(name, lacks)| format!(", {name} lacks {lacks}"));
                let slowest: String = slowest.collect();
                output.detail(format_args!(
                    "{wire_bytes} bytes sent, {rate} bit/s, {complete} have all{slowest}"
                ));
                progress.say(format!("{complete} have all{slowest}"));
            }
            Sending::Began { bytes, receivers } => {
                total = bytes;
                output.say(format_args!(
                    "sending {} to {receivers} receivers",
                    ByteSize(bytes)
                ));
            }
            Sending::Note(note) => output.detail(note),
        };
        let report = block_on(transfer::send(group, settings, &mut tell))?;
        drop(progress);
        let report = Sent(report);
        output.report(&report)?;
        let complete = report.0.deliveries.iter().all(|delivery| delivery.complete);
        Ok(match (complete, report.0.quorum) {
            (true, _) => Exit::Done,
            (false, true) => Exit::PartlyDone,
            (false, false) => Exit::Failed,
        })
    }
}

struct Sent(transfer::Report);

#[derive(Serialize)]
struct Fields<'a> {
    quorum: bool,
    bytes: u64,
    wire_bytes: u64,
    frames: u64,
    repairs: u64,
    resent: u64,
    seconds: f64,
    receivers: Vec<Receiver<'a>>,
}

#[derive(Serialize)]
struct Receiver<'a> {
    receiver: &'a str,
    address: Option<std::net::SocketAddr>,
    complete: bool,
    fate: &'a str,
}

impl Serialize for Sent {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let report = &self.0;
        let receivers = report.deliveries.iter().map(|delivery| Receiver {
            receiver: &delivery.receiver,
            address: delivery.address,
            complete: delivery.complete,
            fate: &delivery.fate,
        });
        let fields = Fields {
            quorum: report.quorum,
            bytes: report.bytes,
            wire_bytes: report.wire_bytes,
            frames: report.frames,
            repairs: report.repairs,
            resent: report.resent,
            seconds: report.took.as_secs_f64(),
            receivers: receivers.collect(),
        };
        fields.serialize(serializer)
    }
}

impl Report for Sent {
    const KIND: &'static str = "multicast.sent";
}

impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = &self.0;
        let complete = report
            .deliveries
            .iter()
            .filter(|delivery| delivery.complete)
            .count();
        let ratio = report.wire_bytes as f64 / report.bytes.max(1) as f64;
        write!(
            f,
            "{complete} of {} receivers have all {} after {:.2} s; {} on the wire, {ratio:.3} times as much; {} frames, {} of \
             them repair, {} sent again",
            report.deliveries.len(),
            ByteSize(report.bytes),
            report.took.as_secs_f64(),
            ByteSize(report.wire_bytes),
            report.frames,
            report.repairs,
            report.resent
        )?;
        for delivery in &report.deliveries {
            let address = delivery
                .address
                .map_or_else(String::new, |address| address.to_string());
            write!(
                f,
                "\n  {:<32} {address:<24} {}",
                delivery.receiver, delivery.fate
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_read_as_they_are_written() {
        let fixed = |text: &str| match text.parse::<RateArgument>() {
            Ok(RateArgument(Rate::Fixed(bits))) => Some(bits),
            _ => None,
        };
        assert_eq!(fixed("50M"), Some(50_000_000));
        assert_eq!(fixed("1.5G"), Some(1_500_000_000));
        assert_eq!(fixed("800k"), Some(800_000));
        assert_eq!(fixed("20000"), Some(20_000));
        assert!(matches!(
            "auto".parse(),
            Ok(RateArgument(Rate::Adaptive { .. }))
        ));
        for text in ["", "fast", "-1M", "9", "1T", "nanM", "infG", "M"] {
            assert!(text.parse::<RateArgument>().is_err(), "{text}");
        }
    }
}
