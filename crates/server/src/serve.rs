//! The server's life: bind, accept, drain. The engine belongs to the caller, who ends it afterwards.

use std::{net::SocketAddr, time::Duration};

use reckon_sandbox::Engine;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    app::App,
    config::{ServedModel, ServerConfig, Speaker},
    connection,
    places::{Place, Places},
    routes::router,
};

/// A server that cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// Anybody on the network could run code here.
    #[error("listening on {0} reaches beyond this machine and needs a key")]
    KeyNeeded(SocketAddr),
    /// Strangers would take the demo planner for a language model.
    #[error("listening on {0} reaches beyond this machine and no language model is configured")]
    ModelNeeded(SocketAddr),
    /// The address cannot be listened on.
    #[error("listen on {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
}

impl ServeError {
    /// Returns what a person can do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::KeyNeeded(_) => "set a key for the server, or listen on 127.0.0.1 only".to_owned(),
            Self::ModelNeeded(_) => "configure a model, or name the demo planner: --model demo".to_owned(),
            Self::Bind { address, .. } => {
                format!("choose another port, or end what listens on {address}")
            }
        }
    }
}

/// A server that is bound to its address and answers once it is served.
#[derive(Debug)]
pub struct Server {
    config: ServerConfig,
    served: ServedModel,
    listener: TcpListener,
    address: SocketAddr,
}

impl Server {
    /// Listens on the configured address, without a runtime: a port below 1024 is taken while the process has the right
    /// to. Callers queue up from then on.
    pub fn listen(config: &ServerConfig) -> Result<std::net::TcpListener, ServeError> {
        let address = config.listen;
        if !address.ip().is_loopback() && config.keys.is_empty() {
            return Err(ServeError::KeyNeeded(address));
        }
        std::net::TcpListener::bind(address).map_err(|source| ServeError::Bind { address, source })
    }

    /// Checks the configuration and listens on its address. Within a runtime, like [`Server::on`].
    #[expect(clippy::unused_async, reason = "it registers the listener with the runtime that polls it")]
    pub async fn bind(config: ServerConfig, served: ServedModel) -> Result<Self, ServeError> {
        let listener = Self::listen(&config)?;
        Self::on(listener, config, served)
    }

    /// Takes over the listener of the configured address.
    pub fn on(
        listener: std::net::TcpListener,
        config: ServerConfig,
        served: ServedModel,
    ) -> Result<Self, ServeError> {
        let address = config.listen;
        if !address.ip().is_loopback() && served.speaker == Speaker::DemoByDefault {
            return Err(ServeError::ModelNeeded(address));
        }
        let failed = |source| ServeError::Bind { address, source };
        listener.set_nonblocking(true).map_err(failed)?;
        let listener = TcpListener::from_std(listener).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { config, served, listener, address })
    }

    /// Returns the address, with the port that was taken where port 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `shutdown`; then finishes what runs within the configured time, interrupts
    /// the rest and returns.
    pub async fn serve(self, engine: Engine, shutdown: CancellationToken) {
        let drain = self.config.drain;
        let places = Places::new(self.config.max_connections);
        let app = App::new(self.config, engine, self.served);
        let router = router(app.clone());
        let mut sweep = interval(app.sessions.sweep_interval());
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                (stream, place) = accept(&self.listener, &places) => {
                    connections.spawn(connection::serve(stream, place, router.clone(), shutdown.clone()));
                }
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                _ = sweep.tick() => app.sessions.sweep().await,
                () = shutdown.cancelled() => break,
            }
        }
        drop(self.listener);
        let finished = timeout(drain, async { while connections.join_next().await.is_some() {} }).await;
        if finished.is_err() {
            tracing::warn!(interrupted = connections.len(), "the time to finish is over");
        }
        // Dropping a connection drops its turns and executions, which interrupts their code.
        connections.shutdown().await;
    }
}

/// Waits for a place and a caller.
async fn accept(listener: &TcpListener, places: &Places) -> (TcpStream, Place) {
    let place = places.take().await;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, place),
            Err(error) => {
                // Out of descriptors, most likely: others have to end first, so trying at once is no use.
                tracing::warn!(%error, "could not accept a connection");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}
