use std::borrow::Cow;
use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bellwether_disk::scan::Watch;
use bellwether_types::ByteSize;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::{Liveliness, Output};

/// How a long step gets on: drawn on a terminal, else a line every ten seconds, on standard error.
/// Gone when it is dropped.
#[derive(Debug)]
pub(crate) struct Progress {
    label: &'static str,
    drawn: Option<ProgressBar>,
    lines: Option<Mutex<Instant>>,
    started: Instant,
    files: AtomicU64,
    bytes: AtomicU64,
    /// 0 while it is not known.
    bytes_total: AtomicU64,
}

const LINE_EVERY: Duration = Duration::from_secs(10);

impl Progress {
    /// A step whose size is not known yet.
    pub(crate) fn new(output: &Output, label: &'static str) -> Self {
        let liveliness = output.liveliness();
        Self {
            label,
            drawn: (liveliness == Liveliness::Drawn).then(|| bar(label)),
            lines: (liveliness == Liveliness::Lines).then(|| Mutex::new(Instant::now())),
            started: Instant::now(),
            files: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            bytes_total: AtomicU64::new(0),
        }
    }

    /// Bytes are done. May be called from any thread, and often.
    pub(crate) fn add_bytes(&self, bytes: u64) {
        let done = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        match &self.drawn {
            Some(bar) => bar.set_position(done),
            None => self.print_line_when_due(done),
        }
    }

    /// So many bytes of so many are done: from now on the time left is shown as well.
    pub(crate) fn reach(&self, done: u64, total: u64) {
        if self.bytes_total.swap(total, Ordering::Relaxed) != total
            && let Some(bar) = &self.drawn
        {
            bar.set_length(total);
            bar.set_style(style(BOUNDED));
        }
        let before = self.bytes.load(Ordering::Relaxed);
        self.add_bytes(done.saturating_sub(before));
    }

    /// Files are done.
    pub(crate) fn add_files(&self, files: u64) {
        let done = self.files.fetch_add(files, Ordering::Relaxed) + files;
        if let Some(bar) = &self.drawn {
            bar.set_message(Cow::Owned(format!("{done} files")));
        }
    }

    /// What else there is to say of it, on a terminal.
    pub(crate) fn say(&self, what: String) {
        if let Some(bar) = &self.drawn {
            bar.set_message(Cow::Owned(what));
        }
    }

    fn print_line_when_due(&self, done: u64) {
        // Whoever finds the lock taken knows that another thread is about to print.
        let Some(Ok(mut last)) = self.lines.as_ref().map(Mutex::try_lock) else {
            return;
        };
        if last.elapsed() >= LINE_EVERY {
            *last = Instant::now();
            let line = self.line(done, self.started.elapsed());
            let _ = writeln!(anstream::stderr(), "{line}");
        }
    }

    fn line(&self, done: u64, elapsed: Duration) -> String {
        let seconds = elapsed.as_secs_f64().max(0.001);
        let rate = (done as f64 / seconds) as u64;
        let mut line = format!("{}: {}", self.label, ByteSize(done));
        let total = self.bytes_total.load(Ordering::Relaxed);
        if total > 0 {
            line += &format!(" of {}", ByteSize(total));
        }
        let files = self.files.load(Ordering::Relaxed);
        if files > 0 {
            line += &format!(", {files} files");
        }
        line += &format!(", {}/s", ByteSize(rate));
        if total > 0 && rate > 0 {
            line += &format!(", {} s left", total.saturating_sub(done).div_ceil(rate));
        }
        line
    }
}

const OPEN_ENDED: &str = "{spinner} {prefix} {msg} {binary_bytes} {binary_bytes_per_sec}";
const BOUNDED: &str = "{prefix} {wide_bar} {binary_bytes}/{binary_total_bytes} \
                       {binary_bytes_per_sec} {eta} left {msg}";

fn bar(label: &'static str) -> ProgressBar {
    let target = ProgressDrawTarget::stderr_with_hz(8);
    let bar = ProgressBar::with_draw_target(None, target).with_style(style(OPEN_ENDED));
    bar.with_prefix(label)
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates above are well formed")
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.drawn {
            bar.finish_and_clear();
        }
    }
}

impl Watch for Progress {
    fn found(&self, files: u64, _bytes: u64) {
        self.add_files(files);
    }

    fn hashed(&self, bytes: u64) {
        self.add_bytes(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Talk;

    #[test]
    fn a_line_tells_bytes_rate_and_time_left() {
        let output = Output::new(Talk::default());
        let progress = Progress::new(&output, "staging");
        progress.reach(0, 100 << 20);
        progress.add_files(3);
        assert_eq!(
            progress.line(25 << 20, Duration::from_secs(5)),
            "staging: 25.0 MiB of 100.0 MiB, 3 files, 5.0 MiB/s, 15 s left"
        );
        let progress = Progress::new(&output, "scanning");
        assert_eq!(progress.line(0, Duration::ZERO), "scanning: 0 B, 0 B/s");
    }
}
