//! Questions to the user, on the terminal itself: standard input and output may be files.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};

use nix::sys::termios::{self, LocalFlags, SetArg, Termios};
use secrecy::SecretString;
use tokio::sync::oneshot;

/// The terminal of this process.
const TERMINAL: &str = "/dev/tty";

/// Asks a question, and returns the answer's line.
///
/// # Errors
/// Those of the terminal, such as [`io::ErrorKind::NotFound`] without one.
pub(super) async fn ask(question: &str) -> io::Result<String> {
    let mut terminal = open()?;
    write!(terminal, "{question} ")?;
    answer(&terminal).await
}

/// Asks for a secret, which the terminal does not show.
///
/// # Errors
/// As [`ask`].
pub(super) async fn ask_secretly(question: &str) -> io::Result<SecretString> {
    let mut terminal = open()?;
    // Before the question, after which the user may type.
    let silent = Silent::on(terminal.try_clone()?)?;
    write!(terminal, "{question} ")?;
    let answer = answer(&terminal).await;
    drop(silent);
    // The Enter was not shown either.
    terminal.write_all(b"\n")?;
    answer.map(SecretString::from)
}

fn open() -> io::Result<File> {
    File::options().read(true).write(true).open(TERMINAL)
}

/// Reads a line on a thread of its own, which a stop of the process does not wait for.
async fn answer(terminal: &File) -> io::Result<String> {
    let mut lines = BufReader::new(terminal.try_clone()?);
    let (sender, line) = oneshot::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = lines.read_line(&mut line).map(|_| line);
        // Fails when the command was stopped meanwhile.
        drop(sender.send(read));
    });
    let line = line.await.map_err(io::Error::other)??;
    if line.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// A terminal that does not show what is typed; it does again on drop, also when the command is stopped.
struct Silent {
    terminal: File,
    before: Termios,
}

impl Silent {
    fn on(terminal: File) -> io::Result<Self> {
        let before = termios::tcgetattr(&terminal)?;
        let mut silent = before.clone();
        silent.local_flags.remove(LocalFlags::ECHO);
        termios::tcsetattr(&terminal, SetArg::TCSAFLUSH, &silent)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        // A terminal that is gone shows nothing anyway.
        let _ = termios::tcsetattr(&self.terminal, SetArg::TCSANOW, &self.before);
    }
}
