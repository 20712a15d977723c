//! What an engine prepares before its warden starts: directories, the list of what rooms see, the zygote's program.

use std::{
    fs::DirBuilder,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use reckon_cage::{
    Without,
    message::{DiskConfig, Program, WardenConfig},
};

use crate::{
    engine::{Engine, EngineConfig, Isolation},
    error::EngineError,
    visible,
    warden::{Keeper, Source},
};

/// The directory of all sandboxes, below the data directory.
const SANDBOXES: &str = "sandboxes";
/// What the size of a disk is a multiple of.
const DISK_UNIT: u64 = 1 << 20;

/// The Python that lives inside, embedded: name and source.
const PYTHON: [(&str, &str); 12] = [
    ("reckon_zygote.py", include_str!("../../../python/reckon_zygote.py")),
    ("reckon_driver.py", include_str!("../../../python/reckon_driver.py")),
    ("reckon_channel.py", include_str!("../../../python/reckon_channel.py")),
    ("reckon_figures.py", include_str!("../../../python/reckon_figures.py")),
    ("reckon_loop.py", include_str!("../../../python/reckon_loop.py")),
    ("reckon_outlet.py", include_str!("../../../python/reckon_outlet.py")),
    ("reckon_heap.py", include_str!("../../../python/reckon_heap.py")),
    ("reckon_random.py", include_str!("../../../python/reckon_random.py")),
    ("reckon_shell.py", include_str!("../../../python/reckon_shell.py")),
    ("reckon_streams.py", include_str!("../../../python/reckon_streams.py")),
    ("reckon_traceback.py", include_str!("../../../python/reckon_traceback.py")),
    ("reckon_values.py", include_str!("../../../python/reckon_values.py")),
];

/// An engine that has all it needs of the rights its server was started with, and has no warden yet.
#[derive(Debug)]
pub struct Prepared {
    config: EngineConfig,
    /// Holds the sandboxes' directories.
    directory: PathBuf,
    source: Source,
}

impl Prepared {
    pub(crate) fn new(config: EngineConfig, without: Without) -> Result<Self, EngineError> {
        config.limits.check()?;
        if config.account.is_none() {
            let directory = directories(&config)?;
            let warden = Box::new(warden_config(&config, &directory, without)?);
            let source = Source::Program(config.warden.clone(), warden);
            return Ok(Self { config, directory, source });
        }
        // What stands in the account's directory is its own: root makes and follows nothing there.
        let data = config.data_dir.canonicalize().map_err(|source| EngineError::Io {
            act: format!("resolve {}", config.data_dir.display()),
            source,
        })?;
        let directory = data.join(SANDBOXES);
        let source =
            Source::Keeper(Keeper::start(&config.warden, &warden_config(&config, &directory, without)?)?);
        Ok(Self { config, directory, source })
    }

    /// Starts the warden, the zygote and the pool. Returns once a context can be made.
    pub async fn start(self) -> Result<Engine, EngineError> {
        if self.config.account.is_some() {
            directories(&self.config)?;
        }
        Engine::begin(self.config, self.directory, self.source).await
    }
}

/// Makes the data directory and the one that holds sandboxes. Returns the latter.
pub(crate) fn directories(config: &EngineConfig) -> Result<PathBuf, EngineError> {
    let sandboxes = config.data_dir.join(SANDBOXES);
    // Nobody but the owner may pass; rooms get their part by descriptor. Without rooms code of another uid must pass.
    let passable = config.isolation == Isolation::Process && reckon_cage::gives_out_uids();
    DirBuilder::new()
        .recursive(true)
        .mode(if passable { 0o711 } else { 0o700 })
        .create(&sandboxes)
        .map_err(|source| EngineError::Io { act: format!("make {}", sandboxes.display()), source })?;
    let sandboxes = sandboxes
        .canonicalize()
        .map_err(|source| EngineError::Io { act: format!("resolve {}", sandboxes.display()), source })?;
    if passable {
        check_passable(&sandboxes, "--data /var/lib/reckon")?;
        check_passable(&config.image.root, "--image-dir /var/cache/reckon/images")?;
    }
    Ok(sandboxes)
}

/// Refuses to start where code that runs under another uid could not reach its own files.
fn check_passable(path: &Path, mend: &str) -> Result<(), EngineError> {
    use std::os::unix::fs::PermissionsExt as _;
    let closed = path
        .ancestors()
        .find(|part| std::fs::metadata(part).is_ok_and(|found| found.permissions().mode() & 0o001 == 0));
    match closed {
        None => Ok(()),
        Some(closed) => Err(EngineError::Isolation {
            what: format!(
                "started as root in the tier `process`, code runs under another uid, which may not pass {}",
                closed.display()
            ),
            mend: format!("start with `{mend}`"),
        }),
    }
}

/// Returns what the warden needs to know.
pub(crate) fn warden_config(
    config: &EngineConfig,
    sandboxes: &Path,
    without: Without,
) -> Result<WardenConfig, EngineError> {
    let namespaces = config.isolation == Isolation::Room;
    let own = own_files(config);
    let python = own.join("python");
    let mut files: Vec<_> =
        PYTHON.iter().map(|(name, source)| (python.join(name), (*source).to_owned())).collect();
    if without.leaves_out("reseed") {
        for (_, source) in &mut files {
            *source = source.replace("\ndef reseed() -> None:\n", "\ndef reseed() -> None:\n    return\n");
        }
    }
    if namespaces {
        files.extend(visible::own_files());
        if !without.leaves_out("covers") {
            files.extend(visible::environment_file(&config.image));
        }
    } else {
        write_private(&files)?;
        files.clear();
    }
    Ok(WardenConfig {
        namespaces,
        workspaces: sandboxes.to_owned(),
        visible: visible::of_image(&config.image, &without)?,
        files,
        zygote: zygote(config, &own, &python),
        zygote_millis: u64::try_from(config.zygote_age.as_millis()).unwrap_or(u64::MAX),
        own,
        server_pid: std::process::id(),
        account: config.account,
        disk: disk(config.data_dir.join("disk"), config.disk_bytes)?,
        without,
    })
}

/// Returns the disk in a directory below the data directory.
fn disk(directory: PathBuf, bytes: Option<u64>) -> Result<DiskConfig, EngineError> {
    let around = directory.parent().unwrap_or(Path::new("/"));
    let bytes = if let Some(bytes) = bytes {
        bytes
    } else {
        let act = || format!("look at the file system of {}", around.display());
        let free =
            reckon_cage::disk::free_bytes(around).map_err(|source| EngineError::Io { act: act(), source })?;
        // A disk that finds no space beneath it fails as broken hardware does, for all sandboxes at once.
        free / 10 * 8
    };
    Ok(DiskConfig { directory, bytes: bytes / DISK_UNIT * DISK_UNIT })
}

/// Returns what a warden needs to know that only tries the walls.
pub(crate) fn survey_config(directory: &Path, isolation: Isolation) -> Result<WardenConfig, EngineError> {
    let trial = directory.join(format!("trial-{}", std::process::id()));
    Ok(WardenConfig {
        namespaces: isolation == Isolation::Room,
        workspaces: directory.to_owned(),
        visible: visible::of_system(&Without::default())?,
        files: Vec::new(),
        zygote: Program { arguments: Vec::new(), environment: Vec::new() },
        zygote_millis: 0,
        own: directory.to_owned(),
        server_pid: std::process::id(),
        account: None,
        disk: disk(trial, None)?,
        without: Without::default(),
    })
}

/// Removes what [`warden_config`] wrote on the host.
pub(crate) fn remove_private_files(config: &EngineConfig) {
    if config.isolation == Isolation::Process {
        let _ = std::fs::remove_dir_all(own_files(config));
    }
}

fn own_files(config: &EngineConfig) -> PathBuf {
    match config.isolation {
        Isolation::Room => PathBuf::from(reckon_cage::OWN_FILES),
        Isolation::Process => config.data_dir.join(format!("runtime-{}", std::process::id())),
    }
}

fn write_private(files: &[(PathBuf, String)]) -> Result<(), EngineError> {
    for (path, content) in files {
        let written = path
            .parent()
            .map_or(Ok(()), |parent| DirBuilder::new().recursive(true).mode(0o755).create(parent))
            .and_then(|()| std::fs::write(path, content));
        written.map_err(|source| EngineError::Io { act: format!("write {}", path.display()), source })?;
    }
    Ok(())
}

fn zygote(config: &EngineConfig, own: &Path, python: &Path) -> Program {
    let seen = |path: &Path| match (config.isolation, path.strip_prefix(&config.image.root)) {
        (Isolation::Room, Ok(below)) => Path::new(visible::IMAGE).join(below),
        _ => path.to_owned(),
    };
    let python_inside = seen(&config.image.python);
    let interpreter = python_inside.to_string_lossy().into_owned();
    let bin = python_inside.parent().map_or_else(String::new, |path| path.display().to_string());
    let script = python.join("reckon_zygote.py").to_string_lossy().into_owned();
    Program {
        // No user's site-packages, and no directory of scripts on the module path.
        arguments: vec![interpreter, "-s".into(), "-P".into(), script],
        environment: vec![
            format!("PATH={bin}:/usr/local/bin:/usr/bin:/bin"),
            format!("HOME={}", reckon_cage::HOME),
            "USER=sandbox".into(),
            "LOGNAME=sandbox".into(),
            "SHELL=/bin/bash".into(),
            "LANG=C.UTF-8".into(),
            "TERM=dumb".into(),
            "PYTHONDONTWRITEBYTECODE=1".into(),
            format!("RECKON_OWN_FILES={}", own.display()),
            format!("RECKON_HEAP={}", config.heap.as_str()),
            format!("RECKON_MPLCONFIGDIR={}", seen(&config.image.mpl_config_dir).display()),
        ],
    }
}
