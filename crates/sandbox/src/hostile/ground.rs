//! What of the host hostile programs reach for: a server on its loopback, an abstract socket, a file with a secret.

use std::{
    fs::OpenOptions,
    io::Write as _,
    net::TcpListener,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            fs::OpenOptionsExt as _,
            net::{SocketAddr, UnixListener},
        },
    },
    path::{Path, PathBuf},
};

use reckon_protocol::SandboxId;

use crate::error::EngineError;

/// Targets on the host, which exist as long as this does.
#[derive(Debug)]
pub struct Ground {
    /// Accepts nothing; a connection into its queue is success enough.
    tcp: TcpListener,
    _abstract_socket: UnixListener,
    name: String,
    file: PathBuf,
    /// What is in the file.
    pub(super) secret: String,
}

impl Ground {
    /// Makes them; the file is below `directory`.
    pub fn prepare(directory: &Path) -> Result<Self, EngineError> {
        let io = |act: &'static str| move |source| EngineError::Io { act: act.to_owned(), source };
        // A sandbox's id is as hard to guess as anything here.
        let name = format!("reckon-self-test-{}", SandboxId::new());
        let address = SocketAddr::from_abstract_name(&name).map_err(io("name an abstract socket"))?;
        let secret = format!("secret-{}", SandboxId::new());
        let file = directory.join(format!("{name}.txt"));
        OpenOptions::new()
            .write(true)
            .create_new(true)
            // Readable for all, so that it is not its owner that protects it.
            .mode(0o644)
            .open(&file)
            .and_then(|mut file| file.write_all(secret.as_bytes()))
            .map_err(io("write the target of the self-test"))?;
        Ok(Self {
            tcp: TcpListener::bind(("127.0.0.1", 0)).map_err(io("listen on loopback"))?,
            _abstract_socket: UnixListener::bind_addr(&address).map_err(io("bind an abstract socket"))?,
            name,
            file,
            secret,
        })
    }

    /// Puts the targets into a program's code.
    pub(super) fn fill(&self, code: &str) -> String {
        let mut code = code.to_owned();
        // A program that must only run where the host has something asks for it by path.
        while let Some((before, rest)) = code.split_once("@HAS:") {
            let Some((path, after)) = rest.split_once('@') else { break };
            let has = if Path::new(path).exists() { "yes" } else { "no" };
            code = format!("{before}{has}{after}");
        }
        let port = self.tcp.local_addr().map_or(0, |address| address.port());
        code.replace("@TCP_PORT@", &port.to_string())
            .replace("@ABSTRACT@", &self.name)
            .replace("@SECRET_FILE@", &self.file.display().to_string())
            .replace("@SERVER_PID@", &std::process::id().to_string())
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}
