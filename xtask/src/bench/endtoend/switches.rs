//! The moments at which content becomes live, by the word of the kernel.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// Looks at directories of sites, each of which has one `live`.
#[derive(Debug)]
pub(super) struct Switches {
    seen: Receiver<(usize, Instant)>,
    count: usize,
}

/// Of an event, before its name: descriptor, mask, cookie and the length of the name, four bytes each.
const HEAD: usize = 16;

impl Switches {
    /// Notices every switch from now on, with the process as long as it runs.
    pub(super) fn watch(directories: &[PathBuf]) -> Result<Self> {
        // SAFETY: it takes flags, and gives a descriptor that nobody else has.
        let fd = unsafe { libc::inotify_init1(libc::IN_CLOEXEC) };
        ensure!(fd >= 0, io::Error::last_os_error());
        // SAFETY: as above.
        let mut file = unsafe { File::from_raw_fd(fd) };
        let mut watched = Vec::new();
        for directory in directories {
            let path = CString::new(directory.as_os_str().as_bytes())?;
            // SAFETY: the descriptor is open, and the path ends with a zero.
            let watch = unsafe {
                libc::inotify_add_watch(file.as_raw_fd(), path.as_ptr(), libc::IN_MOVED_TO)
            };
            ensure!(
                watch >= 0,
                "{}: {}",
                directory.display(),
                io::Error::last_os_error()
            );
            watched.push(watch);
        }
        let (tell, seen) = mpsc::channel();
        std::thread::spawn(move || {
            hasten();
            let mut buffer = vec![0; 64 << 10];
            while let Ok(len) = file.read(&mut buffer) {
                let at = Instant::now();
                for (watch, name) in events(&buffer[..len]) {
                    let place = watched.iter().position(|one| *one == watch);
                    if let (Some(place), b"live") = (place, name)
                        && tell.send((place, at)).is_err()
                    {
                        return;
                    }
                }
            }
        });
        Ok(Self {
            seen,
            count: directories.len(),
        })
    }

    /// Waits for a switch of each; when they were, in the order of time.
    pub(super) fn of_each(&self, patience: Duration) -> Result<Vec<Instant>> {
        let deadline = Instant::now() + patience;
        let mut last: Vec<Option<Instant>> = vec![None; self.count];
        while last.contains(&None) {
            let rest = deadline.saturating_duration_since(Instant::now());
            let missing = last.iter().filter(|at| at.is_none()).count();
            let seen = self.seen.recv_timeout(rest);
            let (place, at) = seen.with_context(|| format!("{missing} did not switch"))?;
            last[place] = Some(at);
        }
        let mut moments: Vec<Instant> = last.into_iter().flatten().collect();
        moments.sort();
        Ok(moments)
    }
}

/// What is measured must not wait for what it measures. Where that is forbidden, figures are a little worse.
fn hasten() {
    let least = libc::sched_param { sched_priority: 1 };
    // SAFETY: it reads the parameter, and changes this thread alone.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const least) };
}

fn events(mut bytes: &[u8]) -> Vec<(i32, &[u8])> {
    let mut events = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk::<HEAD>() {
        let word = |at: usize| [head[at], head[at + 1], head[at + 2], head[at + 3]];
        let len = u32::from_ne_bytes(word(12)) as usize;
        let (name, rest) = rest.split_at(len.min(rest.len()));
        let end = name.iter().position(|byte| *byte == 0);
        events.push((i32::from_ne_bytes(word(0)), &name[..end.unwrap_or(len)]));
        bytes = rest;
    }
    events
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_is_noticed_on_each() {
        let folder = tempdir();
        let sites = ["one", "two"].map(|name| folder.join(name));
        for site in &sites {
            std::fs::create_dir_all(site).unwrap();
        }
        let switches = Switches::watch(&sites).unwrap();
        let began = Instant::now();
        for site in &sites {
            std::fs::write(site.join("next"), "").unwrap();
            std::fs::rename(site.join("next"), site.join("live")).unwrap();
        }
        let moments = switches.of_each(Duration::from_secs(60)).unwrap();
        assert_eq!(moments.len(), 2);
        assert!(began <= moments[0] && moments[0] <= moments[1]);
        assert!(switches.of_each(Duration::ZERO).is_err());
        std::fs::remove_dir_all(folder).unwrap();
    }

    fn tempdir() -> PathBuf {
        let folder = std::env::temp_dir().join(format!("switches-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }
}
