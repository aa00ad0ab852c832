//! Lines for a reader that may be slow or gone: the log must not delay a request or fail it.

use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, write};

use config::own::LogFormat;

/// A pipe that can be written to takes this much at once (pipe(7), `PIPE_BUF`).
const AT_ONCE: usize = 4096;

/// Writes what its reader takes at once. Drops other lines, and says so with the next one.
#[derive(Debug)]
pub(super) struct PromptWriter<F> {
    to: F,
    format: LogFormat,
    dropped: u64,
    /// The last line ends in the middle.
    is_torn: bool,
}

impl<F: AsFd> PromptWriter<F> {
    pub(super) fn new(to: F, format: LogFormat) -> Self {
        Self {
            to,
            format,
            dropped: 0,
            is_torn: false,
        }
    }

    /// Writes a line, or counts it as dropped.
    pub(super) fn write(&mut self, line: &[u8]) {
        if self.dropped > 0 {
            let note = self.note();
            if self.put(note.as_bytes()) < note.len() {
                self.dropped += 1;
                return;
            }
            (self.dropped, self.is_torn) = (0, false);
        }
        let written = self.put(line);
        if written < line.len() {
            self.dropped += 1;
            self.is_torn = written > 0;
        }
    }

    fn note(&self) -> String {
        let end = if self.is_torn { "\n" } else { "" };
        let dropped = self.dropped;
        match self.format {
            LogFormat::Text => format!(
                "{end} WARN {dropped} log lines were dropped: standard error was not read in time\n"
            ),
            LogFormat::Json => format!(
                "{end}{{\"level\":\"WARN\",\"message\":\"log lines were dropped: standard error was not read in time\",\"dropped\":{dropped}}}\n"
            ),
        }
    }

    /// Returns how many bytes were taken.
    fn put(&self, text: &[u8]) -> usize {
        let mut written = 0;
        for part in text.chunks(AT_ONCE) {
            if !self.is_ready() {
                break;
            }
            let taken = write(&self.to, part).unwrap_or_default();
            written += taken;
            if taken < part.len() {
                break;
            }
        }
        written
    }

    fn is_ready(&self) -> bool {
        let mut fds = [PollFd::new(&self.to, PollFlags::OUT)];
        loop {
            match poll(&mut fds, Some(&Timespec::default())) {
                Err(Errno::INTR) => {}
                polled => return polled.is_ok_and(|ready| ready > 0),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{PipeReader, PipeWriter, Read as _, pipe};

    use super::*;

    const LINE: [u8; 100] = [b'x'; 100];

    fn writer() -> (PipeReader, PromptWriter<PipeWriter>) {
        let (reader, to) = pipe().unwrap();
        (reader, PromptWriter::new(to, LogFormat::Text))
    }

    #[test]
    fn a_reader_that_stalls_loses_lines() {
        let (mut reader, mut writer) = writer();
        while writer.dropped < 7 {
            writer.write(&LINE);
        }
        let mut read = vec![0; 1 << 20];
        let taken = reader.read(&mut read).unwrap();
        assert!(taken > AT_ONCE);
        writer.write(b"again\n");
        drop(writer);
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        let end = " WARN 7 log lines were dropped: standard error was not read in time\nagain\n";
        assert!(rest.ends_with(end), "{rest}");
    }

    #[test]
    fn a_reader_that_is_gone_fails_nothing() {
        let (reader, mut writer) = writer();
        drop(reader);
        writer.write(&LINE);
        assert_eq!(writer.dropped, 1);
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut writer = PromptWriter::new(full, LogFormat::Json);
        writer.write(&LINE);
        writer.write(&LINE);
        assert_eq!(writer.dropped, 2);
    }
}
