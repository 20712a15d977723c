//! A `reckon serve` of the bench: started on a free port, ended when dropped.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// The first start builds the image, which takes a minute or two.
const START: Duration = Duration::from_secs(300);

/// A server that drains ends within this time, or is killed.
const END: Duration = Duration::from_secs(10);

/// Of the kernel's clock in `/proc/PID/stat`: always 100 on Linux for user space.
const TICKS: f64 = 100.0;

pub(super) struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    /// Starts the server and returns when it has printed its address.
    pub(super) fn start(binary: &Path, data: &Path) -> Result<Self> {
        let mut child = Command::new(binary)
            .args(["serve", "--listen", "127.0.0.1:0", "--model", "demo", "--data"])
            .arg(data)
            // Four sandboxes and eight rooms ready, up to 64 under demand; all rows are measured with this pool.
            .envs([("RECKON_SANDBOX_POOL", "4"), ("RECKON_SANDBOX_POOL_MAX", "64")])
            .envs([("RECKON_SANDBOX_POOL_ROOMS", "8"), ("RECKON_SANDBOX_MAX_SANDBOXES", "5000")])
            // Cargo's library path is not what a user's server runs with.
            .env_remove("LD_LIBRARY_PATH")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {}", binary.display()))?;
        let (sender, receiver) = mpsc::channel();
        if let Some(stream) = child.stdout.take() {
            watch(stream, sender.clone());
        }
        if let Some(stream) = child.stderr.take() {
            watch(stream, sender);
        }
        let address = await_address(&receiver);
        let mut server = Self { child, address: SocketAddr::from(([127, 0, 0, 1], 0)) };
        // On failure `server` is dropped, which ends the process.
        server.address = address?;
        Ok(server)
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns the processor time that the server process alone has used.
    pub(super) fn processor_seconds(&self) -> Option<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).ok()?;
        let (_, rest) = stat.rsplit_once(')')?;
        let ticks: u64 =
            rest.split_whitespace().skip(11).take(2).filter_map(|word| word.parse::<u64>().ok()).sum();
        Some(ticks as f64 / TICKS)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGTERM lets it take its rooms down; std can only kill.
        let _ = Command::new("kill").arg(self.pid().to_string()).status();
        let deadline = Instant::now() + END;
        while Instant::now() < deadline {
            match self.child.try_wait() {
                Ok(None) => thread::sleep(Duration::from_millis(5)),
                Ok(Some(_)) | Err(_) => return,
            }
        }
        eprintln!("      the server did not end within {END:?} of SIGTERM");
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads a stream to its end, so that the server never blocks on a full pipe.
fn watch(stream: impl Read + Send + 'static, sender: mpsc::Sender<String>) {
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            // Nobody listens once the address is known.
            let _ = sender.send(line);
        }
    });
}

fn await_address(lines: &mpsc::Receiver<String>) -> Result<SocketAddr> {
    let deadline = Instant::now() + START;
    let mut said = Vec::new();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match lines.recv_timeout(left) {
            Ok(line) => {
                if let Some(address) = address_in(&line) {
                    return Ok(address);
                }
                said.push(line);
            }
            Err(mpsc::RecvTimeoutError::Timeout) => bail!("no address within {START:?}: {said:?}"),
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                bail!("reckon serve ended without an address: {}", said.join(" / "))
            }
        }
    }
}

fn address_in(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("http://")?;
    let end = rest
        .find(|character: char| !(character.is_ascii_digit() || ".:".contains(character)))
        .unwrap_or(rest.len());
    rest[..end].trim_end_matches(['.', ':']).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found_in_what_people_read() {
        let address = |line| address_in(line).map(|address| address.to_string());
        let expected = Some("127.0.0.1:8787".to_owned());
        assert_eq!(address("Reckon is at http://127.0.0.1:8787/ (demo planner)"), expected);
        assert_eq!(address("listening on http://127.0.0.1:8787."), expected);
        assert_eq!(address("building the image"), None);
        assert_eq!(address("see http://example.com"), None);
    }
}
