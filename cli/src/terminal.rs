//! Printing that outlives a closed terminal or pipe, and stopping on signals.
//!
//! `println!` and `eprintln!` panic when nobody reads any more, and a panic loses the work at hand. The macros here
//! print where somebody reads, and otherwise let the program do its work.

use blockqnn::environment::Cancellation;
use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::OnceLock;

/// Exit status of a program that was stopped by a signal and can be continued.
const STOPPED: u8 = 130;

/// The first error of the standard output.
static OUTPUT_ERROR: OnceLock<io::Error> = OnceLock::new();

/// Prints results on the standard output.
macro_rules! out {
    ($($text:tt)*) => { $crate::terminal::print(format_args!($($text)*)) };
}

/// Prints a line of results on the standard output.
macro_rules! outln {
    () => { $crate::terminal::print(format_args!("\n")) };
    ($($text:tt)*) => { $crate::terminal::print(format_args!("{}\n", format_args!($($text)*))) };
}

/// Prints a line about the work on the standard error.
macro_rules! errln {
    ($($text:tt)*) => { $crate::terminal::remark(format_args!("{}\n", format_args!($($text)*))) };
}

pub(crate) fn print(text: Arguments<'_>) {
    print_bytes(text.to_string().as_bytes());
}

/// Prints bytes as they are: what is not text, or too long to be formatted.
pub(crate) fn print_bytes(bytes: &[u8]) {
    if let Err(error) = io::stdout().lock().write_all(bytes) {
        // Only the first one counts: the others follow from it.
        let _ = OUTPUT_ERROR.set(error);
    }
}

pub(crate) fn remark(text: Arguments<'_>) {
    // In one piece, so that lines of several processes on one terminal do not mix. There is nowhere to report an error.
    let _ = io::stderr().write_all(text.to_string().as_bytes());
}

/// A path as it can be given to a shell, in quotes if it has to be: for advice that can be followed literally.
pub(crate) fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |sign: char| sign.is_alphanumeric() || "/._-+:@%,=".contains(sign);
    if !text.is_empty() && text.chars().all(is_plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// Ends the program: prints the error, if there is one, and returns the exit status. A closed standard output is not an
/// error; a full disk behind it is.
pub(crate) fn finish(outcome: Result<ExitCode, String>) -> ExitCode {
    let code = outcome.unwrap_or_else(|error| {
        errln!("error: {error}");
        ExitCode::FAILURE
    });
    let flushed = io::stdout().flush().err();
    match OUTPUT_ERROR.get().or(flushed.as_ref()) {
        Some(error) if !is_closed(error) => {
            errln!("error: cannot write to the standard output: {error}");
            ExitCode::FAILURE
        }
        _ => code,
    }
}

/// Whether an error means that nobody reads the standard output any more: a closed pipe, or a terminal that is gone.
fn is_closed(error: &io::Error) -> bool {
    #[cfg(unix)]
    {
        use std::os::fd::AsFd;
        use std::os::unix::fs::FileTypeExt;

        /// `EIO`, which a terminal that is gone gives, and also a broken disk.
        const INPUT_OUTPUT: i32 = 5;
        let output = io::stdout().as_fd().try_clone_to_owned().map(std::fs::File::from);
        let kind = output.and_then(|output| output.metadata()).map(|metadata| metadata.file_type());
        if error.raw_os_error() == Some(INPUT_OUTPUT) && kind.is_ok_and(|kind| kind.is_char_device()) {
            return true;
        }
    }
    error.kind() == ErrorKind::BrokenPipe
}

/// The exit status of a program that was stopped by a signal and can be continued.
pub(crate) fn stopped() -> ExitCode {
    ExitCode::from(STOPPED)
}

/// Returns a flag that Ctrl-C, SIGTERM and the closing of the terminal (SIGHUP) raise. `meanwhile` tells the user what
/// is already safe. A second Ctrl-C exits at once; further signals of the other kinds do not, because a closed terminal
/// or a batch system may send several.
pub(crate) fn stop_on_signals(meanwhile: &'static str) -> io::Result<Cancellation> {
    let cancellation = Cancellation::new();
    let raised = cancellation.clone();
    let stop = move || {
        let first = !raised.is_cancelled();
        // Before anything is printed, since the terminal may be gone.
        raised.cancel();
        if first {
            errln!("\nstopping; press Ctrl-C again to exit immediately ({meanwhile})");
        }
        first
    };
    on_termination(stop.clone())?;
    let stop_or_exit = move || {
        if !stop() {
            std::process::exit(STOPPED.into());
        }
    };
    ctrlc::set_handler(stop_or_exit).map_err(io::Error::other)?;
    Ok(cancellation)
}

/// Calls `stop`, in a thread, for every signal other than Ctrl-C that should stop the program.
#[cfg(unix)]
fn on_termination(stop: impl Fn() -> bool + Send + 'static) -> io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGTERM};

    // Under nohup the program should continue when the terminal is closed.
    let signals = if hang_up_is_ignored() { &[SIGTERM][..] } else { &[SIGTERM, SIGHUP] };
    let mut signals = signal_hook::iterator::Signals::new(signals)?;
    let thread = std::thread::Builder::new().name("signals".to_owned());
    thread.spawn(move || signals.forever().for_each(|_| _ = stop()))?;
    Ok(())
}

#[cfg(not(unix))]
fn on_termination(_stop: impl Fn() -> bool + Send + 'static) -> io::Result<()> {
    Ok(())
}

/// Whether this process was started with SIGHUP ignored, as `nohup` does. Known on Linux only.
#[cfg(unix)]
fn hang_up_is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    // A bit for each signal, beginning with SIGHUP, which is number 1.
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}
