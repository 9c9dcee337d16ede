//! Downloads from a server in this process that misbehaves in all the ways that servers do.

use super::*;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

const FOLDER: &str = "cifar-test";

/// Makes a gzipped tar archive with a file of noise, so large that it does not arrive in one piece.
fn archive() -> Vec<u8> {
    let mut rng = crate::seed::stream(1, "noise", 0);
    let noise: Vec<u8> = (0..300_000).map(|_| u8::try_from(crate::seed::index(&mut rng, 256)).unwrap()).collect();
    let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    let mut header = tar::Header::new_gnu();
    header.set_size(noise.len() as u64);
    header.set_mode(0o644);
    builder.append_data(&mut header, format!("{FOLDER}/train.bin"), &noise[..]).unwrap();
    builder.into_inner().unwrap().finish().unwrap()
}

/// What the server does with a request.
#[derive(Clone, Copy)]
enum Answer {
    /// Sends the whole archive, or the part that is requested.
    Right,
    /// Sends the same, but closes the connection after so many bytes.
    CutAfter(usize),
    /// Sends the whole archive, whatever is requested.
    Whole,
    /// Sends the same number of other bytes.
    Other,
    /// Sends more bytes than there should be, without saying how many.
    Endless,
    /// Redirects to another address of this server.
    Redirect,
    /// Starts to answer, and then sends nothing more.
    Hang,
    /// Sends a status and nothing else.
    Status(u16),
}

/// The starts of the ranges that the server was asked for, in order.
type Heard = Arc<Mutex<Vec<Option<u64>>>>;

/// Serves the answers one after the other, repeating the last one, and returns the server's address.
fn serve(bytes: Vec<u8>, answers: Vec<Answer>) -> (String, Heard) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let heard = Heard::default();
    let (own, base) = (Arc::clone(&heard), address.clone());
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let answer = answers[number.min(answers.len() - 1)];
            let (bytes, heard, base) = (bytes.clone(), Arc::clone(&own), base.clone());
            // Some tests are about clients that close the connection early.
            std::thread::spawn(move || stream.and_then(|stream| reply(stream, &bytes, answer, &heard, &base)));
        }
    });
    (format!("{address}/archive.tar.gz"), heard)
}

fn reply(mut stream: TcpStream, bytes: &[u8], answer: Answer, heard: &Heard, base: &str) -> io::Result<()> {
    let mut from = None;
    for line in BufReader::new(stream.try_clone()?).lines() {
        let line = line?.to_lowercase();
        if let Some(range) = line.strip_prefix("range: bytes=") {
            from = range.trim_end_matches('-').parse::<usize>().ok();
        }
        if line.is_empty() {
            break;
        }
    }
    heard.lock().unwrap().push(from.map(|from| from as u64));
    let close = "Connection: close\r\n\r\n";
    let part = |from: Option<usize>| match from {
        Some(from) => {
            let (last, all) = (bytes.len() - 1, bytes.len());
            format!(
                "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {from}-{last}/{all}\r\nContent-Length: {}\r\n",
                all - from
            )
        }
        None => format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n", bytes.len()),
    };
    let body = &bytes[from.unwrap_or(0)..];
    match answer {
        Answer::Right => {
            write!(stream, "{}{close}", part(from))?;
            stream.write_all(body)
        }
        Answer::CutAfter(count) => {
            write!(stream, "{}{close}", part(from))?;
            stream.write_all(&body[..count.min(body.len())])
        }
        Answer::Whole => {
            write!(stream, "{}{close}", part(None))?;
            stream.write_all(bytes)
        }
        Answer::Other => {
            write!(stream, "{}{close}", part(None))?;
            stream.write_all(&bytes.iter().map(|byte| byte ^ 1).collect::<Vec<_>>())
        }
        Answer::Endless => {
            write!(stream, "HTTP/1.1 200 OK\r\n{close}")?;
            stream.write_all(bytes)?;
            stream.write_all(b"and more")
        }
        Answer::Redirect => {
            write!(stream, "HTTP/1.1 302 Found\r\nLocation: {base}/elsewhere\r\nContent-Length: 0\r\n{close}")
        }
        Answer::Hang => {
            write!(stream, "{}{close}", part(from))?;
            stream.write_all(&body[..1_000])?;
            // Wait until the client gives up and closes its side.
            stream.read(&mut [0]).map(|_| ())
        }
        Answer::Status(status) => write!(stream, "HTTP/1.1 {status} No\r\nContent-Length: 0\r\n{close}"),
    }
}

struct Trial {
    cache: tempfile::TempDir,
    archive: Archive,
    heard: Heard,
}

impl Trial {
    fn new(answers: Vec<Answer>) -> Self {
        let bytes = archive();
        let sha256 = format!("{:x}", Sha256::digest(&bytes));
        let (url, heard) = serve(bytes.clone(), answers);
        let archive = Archive::new(url, bytes.len() as u64, sha256, FOLDER);
        // A server on a busy machine may need a moment for an answer.
        let archive = archive.with_patience(Duration::from_secs(10), 3);
        Self { cache: tempfile::tempdir().unwrap(), archive, heard }
    }

    fn fetch(&self) -> Result<PathBuf, DownloadError> {
        self.archive.fetch(self.cache.path(), &mut |_, _| {})
    }

    #[track_caller]
    fn succeeds(&self) {
        let folder = self.fetch().unwrap();
        assert_eq!(fs::metadata(folder.join("train.bin")).unwrap().len(), 300_000);
        let mut names: Vec<_> =
            fs::read_dir(self.cache.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, [FOLDER, "cifar-test.lock"], "something is left over");
    }

    fn requests(&self) -> Vec<Option<u64>> {
        self.heard.lock().unwrap().clone()
    }

    fn part(&self) -> Option<u64> {
        fs::metadata(self.cache.path().join("cifar-test.part")).ok().map(|metadata| metadata.len())
    }
}

#[test]
fn an_archive_is_fetched_once_and_then_found_in_the_cache() {
    let trial = Trial::new(vec![Answer::Right]);
    let mut last = (0, 0);
    let folder = trial.archive.fetch(trial.cache.path(), &mut |have, bytes| last = (have, bytes)).unwrap();
    assert_eq!(last, (trial.archive.bytes, trial.archive.bytes));
    assert_eq!(folder, trial.archive.folder_in(trial.cache.path()));
    trial.succeeds();
    assert_eq!(trial.requests(), [None]);
}

#[test]
fn a_truncated_download_continues_where_it_stopped() {
    let trial = Trial::new(vec![Answer::CutAfter(100_000), Answer::CutAfter(50_000), Answer::Right]);
    trial.succeeds();
    assert_eq!(trial.requests(), [None, Some(100_000), Some(150_000)]);
}

#[test]
fn bytes_received_before_the_last_attempt_failed_are_kept() {
    let trial = Trial::new(vec![Answer::CutAfter(60_000), Answer::CutAfter(0), Answer::CutAfter(0), Answer::Right]);
    let error = trial.fetch().unwrap_err();
    assert!(
        error.to_string().contains("interrupted 3 times, ") && error.to_string().contains(". 60000 of "),
        "{error}"
    );
    assert_eq!(trial.part(), Some(60_000));
    trial.succeeds();
    assert_eq!(trial.requests().last(), Some(&Some(60_000)));
}

#[test]
fn a_download_restarts_if_the_server_cannot_continue_it() {
    let trial = Trial::new(vec![Answer::CutAfter(100_000), Answer::Whole]);
    trial.succeeds();
    let trial = Trial::new(vec![Answer::CutAfter(100_000), Answer::Status(416), Answer::Right]);
    trial.succeeds();
    assert_eq!(trial.requests(), [None, Some(100_000), None]);
}

#[test]
fn other_bytes_are_refused_by_their_checksum_and_deleted() {
    let trial = Trial::new(vec![Answer::Other, Answer::Right]);
    let error = trial.fetch().unwrap_err();
    assert!(error.to_string().contains("the file is not the data set: its SHA-256 is "), "{error}");
    assert_eq!(trial.part(), None);
    trial.succeeds();
}

#[test]
fn more_bytes_than_there_should_be_are_refused() {
    let trial = Trial::new(vec![Answer::Endless]);
    let error = trial.fetch().unwrap_err();
    assert!(error.to_string().contains("the file is not the data set: its size is more than "), "{error}");
    assert_eq!(trial.part(), None);
}

#[test]
fn a_redirect_is_followed_but_not_a_circle_of_them() {
    let trial = Trial::new(vec![Answer::Redirect, Answer::Right]);
    trial.succeeds();
    let trial = Trial::new(vec![Answer::Redirect]);
    let error = trial.fetch().unwrap_err();
    assert!(matches!(error, DownloadError::Failed { .. }), "{error}");
}

#[test]
fn a_server_that_hangs_is_abandoned_and_asked_again() {
    let mut trial = Trial::new(vec![Answer::Hang, Answer::Hang, Answer::Right]);
    trial.archive = trial.archive.with_patience(Duration::from_secs(1), 3);
    trial.succeeds();
    assert_eq!(trial.requests(), [None, Some(1_000), Some(2_000)]);
}

#[test]
fn a_refusal_is_reported_at_once_and_an_overload_is_retried() {
    let trial = Trial::new(vec![Answer::Status(404)]);
    let error = trial.fetch().unwrap_err();
    assert!(error.to_string().contains("the server answers with HTTP status 404: "), "{error}");
    assert_eq!(trial.requests(), [None]);
    Trial::new(vec![Answer::Status(503), Answer::Right]).succeeds();
}

#[test]
fn an_archive_without_its_folder_is_an_error_and_leaves_no_folder() {
    let mut trial = Trial::new(vec![Answer::Right]);
    trial.archive.folder = "elsewhere".to_owned();
    let error = trial.fetch().unwrap_err();
    assert!(error.to_string().contains("the archive cannot be unpacked into "), "{error}");
    assert!(!trial.cache.path().join("elsewhere").exists());
}

#[test]
fn two_threads_fetch_an_archive_once() {
    let trial = Trial::new(vec![Answer::Right]);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| trial.fetch().unwrap());
        }
    });
    assert_eq!(trial.requests(), [None]);
}
