//! Starts a process and waits for its exit.
//!
//! Replaces the C library's `posix_spawn` at half its cost: that one maps and unmaps a stack for
//! each child while sharing all of the caller's memory, and returns no pidfd.

#![expect(
    unsafe_code,
    reason = "a process that shares memory until it executes its binary has no safe form"
)]

use std::ffi::{CString, OsString, c_char, c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use rustix::process::{Pid, WaitOptions, waitpid};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::Handle;
use tokio::time::sleep;

/// Stack size of a child before exec, in bytes. It only makes system calls.
const STACK: usize = 16 << 10;

/// Descriptors below this are standard streams.
const FIRST: RawFd = 3;

/// The highest signal number.
const SIGNALS: c_int = 64;

/// Poll interval without a pidfd: before Linux 5.3, or when the runtime cannot watch another
/// descriptor.
const LOOK: Duration = Duration::from_millis(2);

/// A binary, its environment and its standard streams.
pub(super) struct Program {
    path: CString,
    env: Vec<CString>,
    streams: [OwnedFd; 3],
}

impl Program {
    /// # Errors
    /// A NUL byte in the path or environment, or no free descriptor.
    pub(super) fn new(
        path: &Path,
        env: &[(OsString, OsString)],
        streams: [OwnedFd; 3],
    ) -> io::Result<Self> {
        let variables = env.iter().map(|(name, value)| {
            let mut text = OsString::with_capacity(name.len() + value.len() + 2);
            text.push(name);
            text.push("=");
            text.push(value);
            CString::new(text.into_vec())
        });
        let [stdin, stdout, stderr] = streams;
        Ok(Self {
            path: CString::new(path.as_os_str().as_bytes())?,
            env: variables.collect::<Result<_, _>>()?,
            streams: [above(stdin)?, above(stdout)?, above(stderr)?],
        })
    }

    /// Starts it in its own process group and waits until the exec has succeeded or failed.
    ///
    /// Must run inside a tokio runtime for the exit to be awaited through a pidfd.
    ///
    /// # Errors
    /// Any failure to execute the binary.
    pub(super) fn start(&self) -> io::Result<Child> {
        let argv = [self.path.as_ptr(), null()];
        let variables = self.env.iter().map(|variable| variable.as_ptr());
        let envp: Vec<*const c_char> = variables.chain([null()]).collect();
        let plan = Plan {
            path: self.path.as_ptr(),
            argv: argv.as_ptr(),
            envp: envp.as_ptr(),
            streams: self.streams.each_ref().map(AsRawFd::as_raw_fd),
            error: AtomicI32::new(0),
        };
        let (pid, pidfd) = plan.clone_process()?;
        let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::Other)?;
        match plan.error.load(Ordering::Relaxed) {
            0 => Ok(Child::new(pid, pidfd)),
            error => {
                waitpid(Some(pid), WaitOptions::empty())?;
                Err(io::Error::from_raw_os_error(error))
            }
        }
    }
}

/// Duplicates a descriptor that has the number of a standard stream: the child would overwrite it.
fn above(descriptor: OwnedFd) -> io::Result<OwnedFd> {
    if descriptor.as_raw_fd() >= FIRST {
        return Ok(descriptor);
    }
    Ok(rustix::io::fcntl_dupfd_cloexec(descriptor, FIRST)?)
}

/// Everything a child needs, preallocated: it must not allocate before exec.
struct Plan {
    path: *const c_char,
    argv: *const *const c_char,
    envp: *const *const c_char,
    streams: [RawFd; 3],
    /// The errno of a failed exec, or 0.
    error: AtomicI32,
}

/// The stack alignment that the kernel ABIs require.
#[repr(align(16))]
struct Stack(#[expect(dead_code, reason = "used by the child alone")] [u8; STACK]);

impl Plan {
    /// Returns the pid, and a pidfd if the kernel supports it.
    fn clone_process(&self) -> io::Result<(c_int, Option<OwnedFd>)> {
        let mut stack = MaybeUninit::<Stack>::uninit();
        let mut pidfd: c_int = -1;
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
        // SAFETY: the child has its own stack, whose top is one past the end of an allocation in
        // this frame. `VFORK` suspends this thread, so neither the stack nor the plan's pointers
        // are otherwise used until the child has executed its binary or exited. No signal handler
        // runs in the child: all signals are blocked when it starts, and their handlers are reset
        // before any is unblocked. The kernel writes a descriptor to `pidfd` that nothing else
        // owns.
        let (process, pidfd) = unsafe {
            let mut all = MaybeUninit::<libc::sigset_t>::uninit();
            let mut before = MaybeUninit::<libc::sigset_t>::uninit();
            libc::sigfillset(all.as_mut_ptr());
            libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
            let top = stack.as_mut_ptr().add(1).cast::<c_void>();
            let plan = (&raw const *self).cast_mut().cast::<c_void>();
            let process = match libc::clone(begin, top, flags, plan, &raw mut pidfd) {
                -1 => Err(io::Error::last_os_error()),
                process => Ok(process),
            };
            libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), null_mut());
            let pidfd = (pidfd >= 0).then(|| OwnedFd::from_raw_fd(pidfd));
            (process, pidfd)
        };
        Ok((process?, pidfd))
    }

    /// Sets up the streams, process group and signals, then executes the binary. Returns only if
    /// that fails.
    ///
    /// # Safety
    /// Only for a child that shares the caller's memory: it must not allocate, lock or unwind.
    unsafe fn execute(&self) {
        // SAFETY: the pointers come from `Program::start`, which outlives the child's use of its
        // memory; everything else is a system call. An all-zero `sigaction` is valid.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            for signal in 1..=SIGNALS {
                let known = libc::sigaction(signal, null(), &raw mut action) == 0;
                let is_kept = action.sa_sigaction == libc::SIG_IGN && signal != libc::SIGPIPE;
                if known && action.sa_sigaction != libc::SIG_DFL && !is_kept {
                    action.sa_sigaction = libc::SIG_DFL;
                    libc::sigaction(signal, &raw const action, null_mut());
                }
            }
            if libc::setpgid(0, 0) != 0 {
                return;
            }
            for (number, descriptor) in (0..FIRST).zip(self.streams) {
                if libc::dup2(descriptor, number) < 0 {
                    return;
                }
            }
            let mut none = MaybeUninit::<libc::sigset_t>::uninit();
            libc::sigemptyset(none.as_mut_ptr());
            libc::pthread_sigmask(libc::SIG_SETMASK, none.as_ptr(), null_mut());
            libc::execve(self.path, self.argv, self.envp);
        }
    }
}

/// Entry point of the child.
extern "C" fn begin(plan: *mut c_void) -> c_int {
    // SAFETY: `clone_process` passes the plan, which outlives the child's use of it. This is the
    // child.
    let plan = unsafe { &*plan.cast::<Plan>() };
    // SAFETY: as above.
    unsafe { plan.execute() };
    let error = io::Error::last_os_error().raw_os_error();
    plan.error
        .store(error.unwrap_or(libc::EINVAL), Ordering::Relaxed);
    // SAFETY: `_exit` ends this process without running any of the parent's code.
    unsafe { libc::_exit(127) }
}

/// A process that was started and not yet reaped.
pub(super) struct Child {
    pid: Pid,
    /// Readable once the process has exited.
    pidfd: Option<AsyncFd<OwnedFd>>,
}

impl Child {
    fn new(pid: Pid, pidfd: Option<OwnedFd>) -> Self {
        let watch = |pidfd| {
            // SAFETY: the `AsyncFd` takes ownership of the descriptor and is the only one to close
            // it.
            unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) }.ok()
        };
        let pidfd = pidfd.filter(|_| Handle::try_current().is_ok());
        let pidfd = pidfd.and_then(watch);
        Self { pid, pidfd }
    }

    /// The pid, which is also its process group's id.
    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// Waits for the exit. Afterwards the kernel may reuse the pid.
    ///
    /// # Errors
    /// When the process was already reaped elsewhere.
    pub(super) async fn wait(&self) -> io::Result<ExitStatus> {
        loop {
            match &self.pidfd {
                Some(pidfd) => pidfd.readable().await?.retain_ready(),
                None => sleep(LOOK).await,
            }
            if let Some((_, status)) = waitpid(Some(self.pid), WaitOptions::NOHANG)? {
                return Ok(ExitStatus::from_raw(status.as_raw()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    fn null_streams() -> [OwnedFd; 3] {
        let open = || {
            OwnedFd::from(
                File::options()
                    .read(true)
                    .write(true)
                    .open("/dev/null")
                    .unwrap(),
            )
        };
        [(); 3].map(|()| open())
    }

    #[tokio::test]
    async fn exit_is_polled_without_pidfd() {
        let program = Program::new(Path::new("/bin/false"), &[], null_streams()).unwrap();
        let child = program.start().unwrap();
        assert!(child.pidfd.is_some());
        let child = Child::new(child.pid, None);
        assert_eq!(child.wait().await.unwrap().code(), Some(1));
    }

    #[test]
    fn descriptor_above_stdio_keeps_its_number() {
        for stream in null_streams() {
            let number = stream.as_raw_fd();
            assert_eq!(above(stream).unwrap().as_raw_fd(), number);
        }
    }

    #[test]
    fn failed_exec_returns_the_kernels_errno() {
        let program = Program::new(Path::new("/dev/null/none"), &[], null_streams()).unwrap();
        let error = program.start().err().unwrap();
        assert_eq!(error.raw_os_error(), Some(libc::ENOTDIR));
    }
}
