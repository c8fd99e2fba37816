//! What a program printed, line by line, each with its time.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, PipeReader, Read};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Lines kept of what a program printed; older ones are forgotten.
const LINES_MAX: usize = 50_000;

/// A longer line is kept in pieces.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// A line that a program printed.
#[derive(Clone, Debug)]
pub struct Line {
    /// When it came out of the pipe.
    pub at: Instant,
    pub text: String,
}

/// What a program printed, line by line as it came.
#[derive(Debug)]
pub struct Transcript {
    title: String,
    state: Mutex<Lines>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct Lines {
    kept: VecDeque<Line>,
    forgotten: usize,
    is_over: bool,
}

impl Transcript {
    pub(crate) fn new(title: String) -> Self {
        Self {
            title,
            state: Mutex::default(),
            news: Condvar::new(),
        }
    }

    /// Takes in what comes out of the pipe, to its end.
    pub(crate) fn fill(&self, output: PipeReader) {
        let mut output = BufReader::new(output);
        let mut bytes = Vec::new();
        // What is not text is shown as well as it can be; an unreadable pipe is an ended one.
        while matches!(output.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes), Ok(read) if read > 0)
        {
            let at = Instant::now();
            let text = String::from_utf8_lossy(&bytes).trim_end().to_owned();
            bytes.clear();
            let mut lines = self.lines();
            if lines.kept.len() == LINES_MAX {
                lines.kept.pop_front();
                lines.forgotten += 1;
            }
            lines.kept.push_back(Line { at, text });
            self.news.notify_all();
        }
        self.lines().is_over = true;
        self.news.notify_all();
    }

    /// Host and program.
    pub(crate) fn title(&self) -> &str {
        &self.title
    }

    /// How many lines there were until now.
    pub fn len(&self) -> usize {
        let lines = self.lines();
        lines.forgotten + lines.kept.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The lines from this one on, as far as they are there.
    pub fn since(&self, first: usize) -> Vec<Line> {
        let lines = self.lines();
        let known = first.saturating_sub(lines.forgotten);
        lines.kept.iter().skip(known).cloned().collect()
    }

    /// The first line, from the given one on, that holds the text; waits for it.
    pub fn await_line(&self, first: usize, text: &str, limit: Duration) -> Result<Line> {
        let deadline = Instant::now() + limit;
        let mut next = first;
        let mut lines = self.lines();
        loop {
            let known = next.saturating_sub(lines.forgotten);
            if let Some(line) = lines
                .kept
                .iter()
                .skip(known)
                .find(|l| l.text.contains(text))
            {
                return Ok(line.clone());
            }
            next = lines.forgotten + lines.kept.len();
            let left = deadline.saturating_duration_since(Instant::now());
            if lines.is_over {
                bail!("{} ended without saying {text:?}", self.title);
            }
            if left.is_zero() {
                bail!("{} did not say {text:?} within {limit:?}", self.title);
            }
            let waited = self.news.wait_timeout(lines, left);
            lines = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// For the report of a test that failed: all of it, each line with its age in seconds since `start`.
    pub(crate) fn report(&self, start: Instant) -> String {
        let lines = self.lines();
        let mut report = format!("--- {}\n", self.title);
        if lines.forgotten > 0 {
            report += &format!("    ({} earlier lines forgotten)\n", lines.forgotten);
        }
        for line in &lines.kept {
            let age = line.at.saturating_duration_since(start).as_secs_f64();
            report += &format!("{age:9.4}  {}\n", line.text);
        }
        report
    }

    fn lines(&self) -> std::sync::MutexGuard<'_, Lines> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
