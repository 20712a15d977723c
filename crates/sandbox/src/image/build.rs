//! One build from end to end: environment, packages, bytecode, check, record, move.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::command::{ToolCommand, ToolEvent};
use super::environment::Environment;
use super::error::ImageError;
use super::installer::{Uv, Workshop, host_uv, may_fall_back, site_packages};
use super::progress::{BuildEvent, BuildPhase, Reporter};
use super::python::{HostPython, outermost};
use super::record::{LOCK_FILE, Record, SCHEMA, interpreter};
use super::settings::IndexSettings;
use super::staging::BuildLock;
use super::{Image, ImageBuilder, InstallerChoice, python, requirements};

/// Compiles the packages.
const COMPILE: &str = include_str!("compile.py");

/// Imports the packages.
const VERIFY: &str = include_str!("verify.py");

/// What `verify.py` found.
#[derive(Deserialize)]
struct Found {
    packages: BTreeMap<String, String>,
    failures: BTreeMap<String, String>,
    libraries: Vec<PathBuf>,
    now: String,
}

/// Builds the image, or opens what another process built meanwhile.
pub(super) async fn build(
    builder: &ImageBuilder,
    progress: &mut (dyn FnMut(BuildEvent) + Send),
) -> Result<Image, ImageError> {
    let mut reporter = Reporter::new(progress);
    let environment = Environment(&builder.environment);
    let lock = BuildLock::acquire(&builder.images_dir, || {
        reporter.say(BuildPhase::Wait, 0.0, "another process is building an image");
    })
    .await?;
    if let Some(image) = builder.open() {
        return Ok(image);
    }
    lock.sweep()?;

    reporter.say(BuildPhase::FindPython, 0.0, "looking for Python");
    let uv = match builder.installer {
        InstallerChoice::Auto => host_uv(environment, &builder.cache_dir).await,
        InstallerChoice::Pip => None,
    };
    let python = python::find(builder.python.as_deref(), environment, uv.is_some()).await?;
    let found = format!("Python {} ({})", python.version, python.executable.display());
    reporter.say(BuildPhase::FindPython, 1.0, found);
    let expected = requirements::expected(&builder.recipe.lock, python.minor)
        .map_err(|reason| ImageError::Lock { image: builder.recipe.name.clone(), reason })?;

    let settings = IndexSettings::read(environment, &python.base_prefix);
    let redactor = settings.redactor();
    let workshop = Workshop {
        environment,
        settings: &settings,
        redactor: &redactor,
        python: &python,
        cache_dir: &builder.cache_dir,
        lock: &lock,
    };
    let staging = lock.stage()?;
    let content = staging.content();
    let lock_file = content.join(LOCK_FILE);
    fs::write(&lock_file, builder.recipe.lock.as_bytes()).map_err(ImageError::io("write", lock_file))?;

    let tool = install(builder, &workshop, uv, &content, expected.len(), &mut reporter).await?;

    let id = format!("{}-{}", builder.recipe.name, identity(builder, &python));
    let place = builder.images_dir.join(&id);
    relocate(&content, &place)?;
    compile(&workshop, &content, &place, &mut reporter).await?;
    let found = verify(builder, &workshop, &content, &staging.scratch(), &mut reporter).await?;
    check(&builder.recipe.name, &expected, &found)?;

    let packages = installed(&found);
    let size_bytes = settle(content.clone()).await?;
    let outside = found.libraries.into_iter().filter(|library| !library.starts_with(&content));
    Record {
        schema: SCHEMA,
        name: builder.recipe.name.clone(),
        id,
        version: python.version.clone(),
        base_python: python.executable.clone(),
        configured_python: builder.python.clone(),
        base_prefix: python.base_prefix.clone(),
        host_dirs: outermost(python.visible_dirs.iter().cloned().chain(outside)),
        packages,
        built_at: found.now,
        size_bytes,
        builder: tool.to_owned(),
    }
    .write(&content)?;
    flush(content).await?;
    staging.publish(&place)?;
    reporter.say(BuildPhase::Done, 1.0, format!("built in {}", place.display()));
    builder.open().ok_or_else(|| ImageError::Verify {
        image: builder.recipe.name.clone(),
        reason: format!("{} cannot be opened", place.display()),
    })
}

/// Returns what tells images of one name apart. The patch level of Python is not part
/// of it: its ABI holds through a minor version, and the host's upgrade changes nothing.
fn identity(builder: &ImageBuilder, python: &HostPython) -> String {
    super::digest(&[
        &SCHEMA.to_string(),
        &builder.recipe.lock,
        &python.abi,
        &python.executable.to_string_lossy(),
    ])
}

/// Makes the environment and fills it, and returns the tool that did.
async fn install(
    builder: &ImageBuilder,
    workshop: &Workshop<'_>,
    host_uv: Option<Uv>,
    content: &Path,
    packages: usize,
    reporter: &mut Reporter<'_>,
) -> Result<&'static str, ImageError> {
    let env = content.join("env");
    let uv = match (builder.installer, host_uv) {
        (InstallerChoice::Pip, _) => None,
        (InstallerChoice::Auto, Some(uv)) => Some(uv),
        (InstallerChoice::Auto, None) => match workshop.fetch_uv(reporter).await {
            Ok(uv) => Some(uv),
            Err(error) if may_fall_back(&error) => {
                tracing::warn!(%error, "uv cannot be fetched, pip installs");
                None
            }
            Err(error) => return Err(error),
        },
    };
    if let Some(uv) = &uv {
        workshop.create_environment(&env, Some(uv)).await?;
        match workshop.install_with_uv(uv, content, packages, reporter).await {
            Ok(()) => return Ok("uv"),
            Err(error) if may_fall_back(&error) && workshop.python.can_install => {
                tracing::warn!(%error, "uv failed, pip installs");
                reporter.say(BuildPhase::Download, 0.0, "uv failed, trying pip");
            }
            Err(error) => return Err(error),
        }
    }
    workshop.create_environment(&env, None).await?;
    workshop.install_with_pip(content, packages, reporter).await?;
    Ok("pip")
}

/// Puts the final place into the files that carry the environment's own path: the heads of
/// scripts, the activation scripts, `pyvenv.cfg`.
fn relocate(content: &Path, place: &Path) -> Result<(), ImageError> {
    let bin = content.join("env/bin");
    let entries = fs::read_dir(&bin).map_err(ImageError::io("read", &bin))?;
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()))
        .map(|entry| entry.path())
        .collect();
    files.push(content.join("env/pyvenv.cfg"));
    for file in files {
        let bytes = fs::read(&file).map_err(ImageError::io("read", &file))?;
        // A program is not text, and carries no path of its environment.
        let Ok(text) = String::from_utf8(bytes) else { continue };
        let moved = text.replace(&*content.to_string_lossy(), &place.to_string_lossy());
        if moved != text {
            fs::write(&file, moved).map_err(ImageError::io("write", &file))?;
        }
    }
    Ok(())
}

async fn compile(
    workshop: &Workshop<'_>,
    content: &Path,
    place: &Path,
    reporter: &mut Reporter<'_>,
) -> Result<(), ImageError> {
    let mut arguments: Vec<OsString> = ["-I", "-c", COMPILE].map(Into::into).to_vec();
    arguments.extend([site_packages(content, workshop.python).into(), content.into(), place.into()]);
    let command = ToolCommand {
        tool: "python",
        act: "compile the packages".to_owned(),
        program: interpreter(content),
        arguments,
        variables: workshop.environment.neutral(),
    };
    count(workshop, command, "compiled", BuildPhase::Compile, reporter).await?;
    Ok(())
}

async fn verify(
    builder: &ImageBuilder,
    workshop: &Workshop<'_>,
    content: &Path,
    scratch: &Path,
    reporter: &mut Reporter<'_>,
) -> Result<Found, ImageError> {
    let mpl = content.join("mpl");
    fs::create_dir(&mpl).map_err(ImageError::io("create", &mpl))?;
    let variables: Vec<(OsString, OsString)> = [
        ("PATH", "/usr/local/bin:/usr/bin:/bin".into()),
        ("LANG", "C.UTF-8".into()),
        // Fonts of the user's home would be in the list and not in a room.
        ("HOME", scratch.into()),
        ("TMPDIR", scratch.into()),
        ("MPLCONFIGDIR", OsString::from(&mpl)),
        ("MPLBACKEND", "agg".into()),
    ]
    .map(|(name, value): (&str, OsString)| (name.into(), value))
    .to_vec();
    let command = ToolCommand {
        tool: "python",
        act: "check the packages".to_owned(),
        program: interpreter(content),
        arguments: ["-I", "-B", "-c", VERIFY].map(Into::into).to_vec(),
        variables,
    };
    let last = count(workshop, command, "imported", BuildPhase::Verify, reporter).await?;
    serde_json::from_str(&last).map_err(|error| ImageError::Verify {
        image: builder.recipe.name.clone(),
        reason: format!("its check ended with {last:?}: {error}"),
    })
}

/// Runs a command that prints `<verb> N of M`, and returns its last line.
async fn count(
    workshop: &Workshop<'_>,
    command: ToolCommand,
    verb: &str,
    phase: BuildPhase,
    reporter: &mut Reporter<'_>,
) -> Result<String, ImageError> {
    let mut heard = |event: ToolEvent<'_>| {
        let ToolEvent::Line(line) = event else { return };
        let words: Vec<&str> = line.split_whitespace().collect();
        if let [first, done, "of", all] = words.as_slice()
            && *first == verb
            && let (Ok(done), Ok(all)) = (done.parse::<f64>(), all.parse::<f64>())
        {
            reporter.say(phase, done / all.max(1.0), line);
        }
    };
    command.run(workshop.lock.as_stdin()?, workshop.redactor, &mut heard).await
}

/// Holds what was found against the lock.
fn check(image: &str, expected: &BTreeMap<String, String>, found: &Found) -> Result<(), ImageError> {
    let installed = installed(found);
    let wrong = expected.iter().find_map(|(name, version)| match installed.get(name) {
        Some(there) if there == version => None,
        Some(there) => Some(format!("{name} is {there} and not {version}")),
        None => Some(format!("{name} is not installed")),
    });
    let broken = found.failures.iter().map(|(name, failure)| format!("{name}: {failure}")).next();
    match wrong.or(broken) {
        None => Ok(()),
        Some(reason) => Err(ImageError::Verify { image: image.to_owned(), reason }),
    }
}

/// Returns the distributions in place by normalised name.
fn installed(found: &Found) -> BTreeMap<String, String> {
    let normal = |(name, version): (&String, &String)| (requirements::normalise(name), version.clone());
    found.packages.iter().map(normal).collect()
}

/// Makes everything readable for whoever a room runs as, whatever the umask was, and
/// returns what it takes on disk, in bytes.
async fn settle(root: PathBuf) -> Result<u64, ImageError> {
    on_thread(move || {
        let mut size = 0;
        let mut open = vec![root];
        while let Some(path) = open.pop() {
            let metadata = fs::symlink_metadata(&path).map_err(ImageError::io("examine", &path))?;
            size += metadata.blocks() * 512;
            if metadata.is_symlink() {
                continue;
            }
            let mode = metadata.permissions().mode();
            let executable = metadata.is_dir() || mode & 0o100 != 0;
            let readable = mode | if executable { 0o555 } else { 0o444 };
            if readable != mode {
                fs::set_permissions(&path, fs::Permissions::from_mode(readable))
                    .map_err(ImageError::io("make readable", &path))?;
            }
            if metadata.is_dir() {
                let entries = fs::read_dir(&path).map_err(ImageError::io("read", &path))?;
                open.extend(entries.flatten().map(|entry| entry.path()));
            }
        }
        Ok(size)
    })
    .await
}

/// Writes everything to the disk, or a power failure after the move could leave a
/// record of files that are not there.
async fn flush(root: PathBuf) -> Result<(), ImageError> {
    on_thread(move || {
        fs::File::open(&root)
            .and_then(|directory| Ok(rustix::fs::syncfs(&directory)?))
            .map_err(ImageError::io("write to disk", &root))
    })
    .await
}

async fn on_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ImageError> + Send + 'static,
) -> Result<T, ImageError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(ImageError::io("finish", "/")(std::io::Error::other(error))),
    }
}
