//! Network namespaces, each held by a process of ours, and the ways into them.
//!
//! A namespace lives as long as a process is in it. Here that process is a fork of ours which does nothing but wait
//! for the end of the *lifeline*: a pipe whose writing end only this process has. When the lab is dropped, or this
//! process dies in whatever way, the pipe ends, the holders go, and the kernel takes namespaces, bridges, links and
//! rules with them. So nothing has a name outside (as `ip netns add` would give it), and nothing can be left over.
//!
//! Between fork and exec (and a holder never execs) only system calls are made and nothing is allocated, because other
//! threads of the test may have held locks at the moment of the fork.

use std::io::{self, IoSlice, IoSliceMut, PipeReader, PipeWriter, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use rustix::process::{Pid, PidfdFlags, WaitOptions, pidfd_open, waitpid};
use rustix::thread::{
    ThreadNameSpaceType, UnshareFlags, move_into_thread_name_spaces, unshare_unsafe,
};

/// Ends when the process that has it ends, or drops it.
#[derive(Debug)]
pub(crate) struct Lifeline {
    reader: PipeReader,
    _writer: PipeWriter,
}

impl Lifeline {
    pub(crate) fn new() -> io::Result<Self> {
        let (reader, _writer) = io::pipe()?;
        Ok(Self { reader, _writer })
    }

    /// What ends.
    pub(crate) fn end(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}

/// What gives us the right to make networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// Capabilities that this process has already, as root has.
    Own,
    /// Those that everybody has in a user namespace of their own, where the kernel allows one.
    UserNamespace,
}

/// A network namespace and the process that holds it.
#[derive(Debug)]
pub(crate) struct Namespace {
    holder: Pid,
    handle: OwnedFd,
    privilege: Privilege,
}

impl Namespace {
    /// The first of a lab.
    pub(crate) fn first(privilege: Privilege, lifeline: &Lifeline) -> io::Result<Self> {
        hold(None, privilege, lifeline)
    }

    /// Another that belongs to the same user namespace.
    pub(crate) fn another(&self, lifeline: &Lifeline) -> io::Result<Self> {
        hold(Some(self), self.privilege, lifeline)
    }

    /// The holder's id, by which `ip link` knows the namespace.
    pub(crate) fn id(&self) -> i32 {
        self.holder.as_raw_nonzero().get()
    }

    pub(crate) fn privilege(&self) -> Privilege {
        self.privilege
    }

    /// Moves the calling thread in: to be called in a process that has just been forked.
    pub(crate) fn enter(&self) -> rustix::io::Result<()> {
        enter(self.handle.as_fd(), self.privilege)
    }

    /// Runs the program in here to its end, with this text as its input; its output, if it succeeds.
    pub(crate) fn run(&self, words: &[&str], input: &str) -> Result<String> {
        let shown = words.join(" ");
        let mut command = Command::new(words[0]);
        command.args(&words[1..]);
        let mut child = self
            .spawn(&mut command)
            .with_context(|| format!("cannot start {shown}"))?;
        // The tools read all of their input before they say anything, so neither side can wait for the other.
        let mut stdin = child.stdin.take().context("a child without input")?;
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        let output = child.wait_with_output()?;
        if !output.status.success() {
            let complaint = String::from_utf8_lossy(&output.stderr);
            bail!("{shown} failed ({}): {}", output.status, complaint.trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn spawn(&self, command: &mut Command) -> Result<std::process::Child> {
        let (handle, privilege) = (self.handle.try_clone()?, self.privilege);
        // SAFETY: the closure only makes system calls.
        unsafe { command.pre_exec(move || Ok(enter(handle.as_fd(), privilege)?)) };
        let piped = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Ok(piped.spawn()?)
    }

    /// A new socket of this namespace, for use in this process: a socket stays where it was made.
    pub(crate) fn socket(&self, family: AddressFamily, kind: SocketType) -> io::Result<OwnedFd> {
        let (ours, theirs) = UnixStream::pair()?;
        // SAFETY: the child makes system calls only, and ends itself.
        let child = match unsafe { libc::fork() } {
            -1 => return Err(io::Error::last_os_error()),
            0 => {
                let made = self
                    .enter()
                    .and_then(|()| {
                        rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None)
                    })
                    .and_then(|socket| hand_over(theirs.as_fd(), socket.as_fd()));
                // SAFETY: ends this process without touching anything of the parent's.
                unsafe { libc::_exit(made.map_or_else(rustix::io::Errno::raw_os_error, |()| 0)) }
            }
            child => child,
        };
        drop(theirs);
        let socket = take_over(ours.as_fd());
        match (wait(child)?, socket) {
            (0, Ok(Some(socket))) => Ok(socket),
            (0, _) => Err(io::Error::other("no socket came out of the namespace")),
            (errno, _) => Err(io::Error::from_raw_os_error(errno)),
        }
    }
}

/// The lifeline has been cut by then, or is now: holders are children of this process, and leave no zombies.
impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = rustix::process::kill_process(self.holder, rustix::process::Signal::KILL);
        let _ = waitpid(Some(self.holder), WaitOptions::empty());
    }
}

fn enter(handle: BorrowedFd<'_>, privilege: Privilege) -> rustix::io::Result<()> {
    let mut namespaces = ThreadNameSpaceType::NETWORK;
    if privilege == Privilege::UserNamespace {
        namespaces |= ThreadNameSpaceType::USER;
    }
    move_into_thread_name_spaces(handle, namespaces)
}

fn hold(
    beside: Option<&Namespace>,
    privilege: Privilege,
    lifeline: &Lifeline,
) -> io::Result<Namespace> {
    let (mut told, tell) = io::pipe()?;
    let maps = Maps::of_this_user();
    // SAFETY: the child makes system calls only, and ends itself.
    let child = match unsafe { libc::fork() } {
        -1 => return Err(io::Error::last_os_error()),
        0 => {
            let made = match beside {
                Some(first) => first.enter().and_then(|()| unshare(UnshareFlags::NEWNET)),
                None if privilege == Privilege::Own => unshare(UnshareFlags::NEWNET),
                None => unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNET)
                    .and_then(|()| maps.write()),
            };
            let errno = made.map_or_else(rustix::io::Errno::raw_os_error, |()| 0);
            let _ = rustix::io::write(&tell, &errno.to_ne_bytes());
            if errno == 0 {
                close_all_but(lifeline.end());
                wait_for_end(lifeline.end());
            }
            // SAFETY: ends this process without touching anything of the parent's.
            unsafe { libc::_exit(0) }
        }
        child => child,
    };
    drop(tell);
    let mut errno = [0; 4];
    let read = told.read_exact(&mut errno);
    let holder = Pid::from_raw(child).ok_or_else(|| io::Error::other("fork returned no child"))?;
    let failed = match (read, i32::from_ne_bytes(errno)) {
        (Ok(()), 0) => None,
        (Ok(()), errno) => Some(io::Error::from_raw_os_error(errno)),
        (Err(error), _) => Some(error),
    };
    if let Some(error) = failed {
        wait(child)?;
        return Err(error);
    }
    Ok(Namespace {
        holder,
        handle: pidfd_open(holder, PidfdFlags::empty())?,
        privilege,
    })
}

fn unshare(flags: UnshareFlags) -> rustix::io::Result<()> {
    // SAFETY: file descriptors stay shared as they are.
    unsafe { unshare_unsafe(flags) }
}

/// This user as root of a new user namespace, in the form that /proc takes.
struct Maps {
    users: String,
    groups: String,
}

impl Maps {
    fn of_this_user() -> Self {
        Self {
            users: format!("0 {} 1\n", rustix::process::geteuid().as_raw()),
            groups: format!("0 {} 1\n", rustix::process::getegid().as_raw()),
        }
    }

    fn write(&self) -> rustix::io::Result<()> {
        use rustix::fs::{Mode, OFlags, open};
        // The kernel asks for this order, so that nobody sheds a group that denies them something.
        for (file, text) in [
            (c"/proc/self/setgroups", "deny"),
            (c"/proc/self/uid_map", &self.users),
            (c"/proc/self/gid_map", &self.groups),
        ] {
            let file = open(file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
            rustix::io::write(&file, text.as_bytes())?;
        }
        Ok(())
    }
}

/// In a forked process: nothing of the parent's is to be kept open by us, least of all the lifeline's other end.
pub(crate) fn close_all_but(kept: BorrowedFd<'_>) {
    let kept = kept.as_raw_fd().cast_unsigned();
    // SAFETY: this process uses none of them, and ends without running any destructor.
    unsafe {
        if kept > 0 {
            libc::syscall(libc::SYS_close_range, 0, kept - 1, 0);
        }
        libc::syscall(libc::SYS_close_range, kept + 1, u32::MAX, 0);
    }
}

/// In a forked process: returns when nobody has the other end any more.
pub(crate) fn wait_for_end(lifeline: BorrowedFd<'_>) {
    loop {
        let mut fds = [PollFd::from_borrowed_fd(lifeline, PollFlags::empty())];
        match poll(&mut fds, None) {
            Ok(_) if !fds[0].revents().is_empty() => return,
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

/// In a forked process: waits for the process or the lifeline's end, whichever is first.
pub(crate) fn wait_for_either(
    process: BorrowedFd<'_>,
    lifeline: BorrowedFd<'_>,
    limit: Duration,
) -> Either {
    let limit = Timespec::try_from(limit).ok();
    loop {
        let mut fds = [
            PollFd::from_borrowed_fd(process, PollFlags::IN),
            PollFd::from_borrowed_fd(lifeline, PollFlags::empty()),
        ];
        match poll(&mut fds, limit.as_ref()) {
            Ok(0) => return Either::Limit,
            Ok(_) if !fds[0].revents().is_empty() => return Either::Process,
            Ok(_) => return Either::Lifeline,
            // Nobody signals us; should it happen, the limit begins anew.
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return Either::Lifeline,
        }
    }
}

/// What ended first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Either {
    Process,
    Lifeline,
    Limit,
}

fn wait(child: i32) -> io::Result<i32> {
    let (_, status) = waitpid(Pid::from_raw(child), WaitOptions::empty())?
        .ok_or_else(|| io::Error::other("waited without result"))?;
    Ok(status.exit_status().unwrap_or(libc::ECHILD))
}

fn hand_over(channel: BorrowedFd<'_>, socket: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let sockets = [socket];
    control.push(SendAncillaryMessage::ScmRights(&sockets));
    rustix::net::sendmsg(
        channel,
        &[IoSlice::new(b".")],
        &mut control,
        SendFlags::empty(),
    )?;
    Ok(())
}

fn take_over(channel: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let mut parts = [IoSliceMut::new(&mut byte)];
    rustix::net::recvmsg(channel, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    Ok(control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut sockets) => sockets.next(),
        _ => None,
    }))
}
