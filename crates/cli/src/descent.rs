//! What a server that is started as root does before its first thread: it takes its directory, prepares the engine with
//! its keeper, and gives root up (docs/adr/0009). Commands of one sandbox stay who they are.

use std::{
    ffi::CStr,
    fs::{self, DirBuilder, File},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use reckon_sandbox::{Account, Engine, Isolation, Prepared};
use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Uid};

use crate::{
    config::Effective,
    env::Environment,
    failure::Hinted,
    render::style,
    start::{self, Purpose},
};

/// Entries that stay as they are; the last one is a new file system's.
const NOT_GIVEN: [&CStr; 4] = [c".", c"..", c"lost+found", c"disk"];

/// Gives root up, for good, and returns the prepared engine; `None` where there is no root to give up, or where the
/// server must keep it, which is said.
pub(crate) fn descend(effective: &Effective, environment: &Environment) -> anyhow::Result<Option<Prepared>> {
    // In the other tier code runs under a uid that only root can give files to.
    if !reckon_cage::gives_out_uids() || effective.config.sandbox.isolation == Isolation::Process {
        return Ok(None);
    }
    let data = start::data_dir(effective, environment)?;
    let (directory, account) = take(&data, Account::find())?;
    if let Some(closed) = closed_to(&data, account) {
        anstream::eprintln!(
            "{}warning:{} the server keeps root, because uid {} may not pass {}; name another directory with `--data /var/lib/reckon`",
            style::WARNING,
            style::END,
            account.uid,
            closed.display()
        );
        return Ok(None);
    }
    give(&directory, account).with_context(|| format!("give {} to uid {}", data.display(), account.uid))?;
    let image = start::image_now(effective, environment)?;
    let config = start::engine_config(effective, Purpose::Serve, data, image, Some(account))?;
    let prepared = Engine::prepare(config)?;
    account.assume().context("give up root")?;
    Ok(Some(prepared))
}

/// Returns who a server would give root up for, or the directory that keeps it from doing so; `None` where there is no
/// root to give up.
pub(crate) fn outlook(effective: &Effective, data: &Path) -> Option<Result<Account, PathBuf>> {
    if !reckon_cage::gives_out_uids() || effective.config.sandbox.isolation == Isolation::Process {
        return None;
    }
    let account = Account::find();
    Some(closed_to(data, account).map_or(Ok(account), Err))
}

/// Makes and opens the data directory. Returns who is to own it: who does already, where that is an account of ours.
fn take(data: &Path, found: Account) -> anyhow::Result<(File, Account)> {
    if let Some(parent) = data.parent() {
        fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
    }
    match DirBuilder::new().mode(0o700).create(data) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(error).with_context(|| format!("create {}", data.display()));
        }
        _ => {}
    }
    // A link may stand for it: it is the operator's as long as its place is.
    let directory = rustix::fs::open(data, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .with_context(|| format!("open {}", data.display()))?;
    let directory = File::from(directory);
    let owner = directory.metadata().with_context(|| format!("look at {}", data.display()))?.uid();
    let account = match owner {
        0 => found,
        uid if uid == found.uid => found,
        uid if uid == Account::PRIVATE.uid => Account::PRIVATE,
        uid => {
            return Err(Hinted::new(
                format!(
                    "{} belongs to uid {uid}, neither to root nor to the server's account",
                    data.display()
                ),
                "start as that user, or name another directory with `--data /var/lib/reckon`".to_owned(),
            )
            .into());
        }
    };
    Ok((directory, account))
}

/// Returns the first directory above `path` that the account may not pass.
fn closed_to(path: &Path, account: Account) -> Option<PathBuf> {
    let resolved = path.canonicalize().ok()?;
    let mut above = resolved.ancestors().skip(1);
    above
        .find(|directory| !fs::metadata(directory).is_ok_and(|found| passes(&found, account)))
        .map(Path::to_owned)
}

fn passes(directory: &fs::Metadata, account: Account) -> bool {
    let shift = match (directory.uid() == account.uid, directory.gid() == account.gid) {
        (true, _) => 6,
        (false, true) => 3,
        (false, false) => 0,
    };
    directory.mode() >> shift & 1 == 1
}

/// Gives a directory of root's, with what a server that kept root has made in it, to the account. One that is the
/// account's is not looked into: what stands there may be somebody's trap.
fn give(directory: &File, account: Account) -> anyhow::Result<()> {
    if directory.metadata().context("look at the directory")?.uid() != 0 {
        return Ok(());
    }
    if !is_ours(directory)? {
        let hint = "name an empty directory, or one that does not exist yet, with --data";
        return Err(Hinted::new("it holds what is not Reckon's".to_owned(), hint.to_owned()).into());
    }
    // Whoever made it may have let others look in.
    rustix::fs::fchmod(directory, Mode::RWXU)?;
    let (uid, gid) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
    let mut waiting = vec![directory.try_clone().context("dup")?];
    while let Some(directory) = waiting.pop() {
        for entry in Dir::read_from(&directory)? {
            let entry = entry?;
            let name = entry.file_name();
            if NOT_GIVEN.contains(&name) {
                continue;
            }
            let found = rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
            // Workspaces are not root's, and nothing of theirs is touched.
            if found.st_uid != 0 {
                continue;
            }
            if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
                let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                waiting.push(rustix::fs::openat(&directory, name, flags, Mode::empty())?.into());
            } else {
                rustix::fs::chownat(&directory, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
            }
        }
        rustix::fs::fchown(&directory, Some(uid), Some(gid))?;
    }
    Ok(())
}

/// Returns whether a directory is empty or was made by a server.
fn is_ours(directory: &File) -> anyhow::Result<bool> {
    let names = Dir::read_from(directory)?.map(|entry| entry.map(|entry| entry.file_name().to_owned()));
    let names = names.collect::<Result<Vec<_>, _>>()?;
    let holds = |name: &CStr| names.iter().any(|found| found.as_c_str() == name);
    Ok(names.iter().all(|name| NOT_GIVEN.contains(&name.as_c_str()))
        || holds(c".lock") && holds(c"sandboxes"))
}

/// Returns where commands of one sandbox work: in the data directory, and where root's server gives that away beside
/// it, since root follows nothing in a directory of somebody else.
pub(crate) fn place_of_commands(data: &Path) -> PathBuf {
    if !rustix::process::geteuid().is_root() {
        return data.join("one-shot");
    }
    let mut name = data.file_name().unwrap_or_default().to_owned();
    name.push("-one-shot");
    data.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    const OURS: Account = Account { uid: 4_000_001, gid: 4_000_002 };

    #[test]
    fn the_first_closed_directory_above_is_named() {
        let place = tempfile::tempdir().expect("a temporary directory");
        let data = place.path().join("data");
        fs::create_dir(&data).expect("mkdir");
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o700)).expect("chmod");
        let resolved = place.path().canonicalize().expect("resolves");
        assert_eq!(closed_to(&data, OURS), Some(resolved));
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o711)).expect("chmod");
        assert_eq!(closed_to(&data, OURS), None);
    }

    #[test]
    fn the_owner_the_group_and_others_pass_by_their_own_bits() {
        let place = tempfile::tempdir().expect("a temporary directory");
        let own = rustix::process::geteuid().as_raw();
        let group = fs::metadata(place.path()).expect("stat").gid();
        for (mode, account, expected) in [
            (0o100, Account { uid: own, gid: 1 }, true),
            (0o011, Account { uid: own, gid: 1 }, false),
            (0o010, Account { uid: own + 1, gid: group }, true),
            (0o101, Account { uid: own + 1, gid: group }, false),
            (0o001, OURS, true),
            (0o110, OURS, false),
        ] {
            fs::set_permissions(place.path(), fs::Permissions::from_mode(mode)).expect("chmod");
            let found = fs::metadata(place.path()).expect("stat");
            assert_eq!(passes(&found, account), expected, "{mode:o} {account:?}");
        }
    }

    #[test]
    fn root_gives_what_it_made_and_follows_nothing() {
        if !rustix::process::geteuid().is_root() {
            reckon_e2e::skip(
                "isolation",
                "root_gives_what_it_made_and_follows_nothing",
                "not root: run it as root",
            );
            return;
        }
        let place = tempfile::tempdir().expect("a temporary directory");
        let (data, secret) = (place.path().join("data"), place.path().join("secret"));
        fs::write(&secret, "x").expect("write");
        fs::create_dir_all(data.join("sandboxes/sbx_1/files")).expect("mkdir");
        fs::create_dir(data.join("lost+found")).expect("mkdir");
        fs::write(data.join(".lock"), "").expect("write");
        symlink(&secret, data.join("sandboxes/link")).expect("symlink");
        let files = data.join("sandboxes/sbx_1/files");
        std::os::unix::fs::chown(&files, Some(7), Some(7)).expect("chown");
        fs::write(files.join("inner"), "x").expect("write");

        let (directory, account) = take(&data, OURS).expect("root's own");
        assert_eq!(account, OURS);
        give(&directory, account).expect("given");
        let owner = |path: &Path| fs::symlink_metadata(path).expect("stat").uid();
        for given in ["", ".lock", "sandboxes", "sandboxes/sbx_1", "sandboxes/link"] {
            assert_eq!(owner(&data.join(given)), OURS.uid, "{given}");
        }
        assert_eq!(fs::metadata(&data).expect("stat").mode() & 0o777, 0o700);
        assert_eq!((owner(&secret), owner(&files), owner(&files.join("inner"))), (0, 7, 0));
        assert_eq!(owner(&data.join("lost+found")), 0);

        // What is the account's stays as it is, whatever stands in it now.
        fs::write(data.join("later"), "x").expect("write");
        give(&directory, account).expect("nothing to do");
        assert_eq!(owner(&data.join("later")), 0);
        let error = take(&data, Account { uid: 5, gid: 5 }).expect_err("somebody else's");
        assert!(error.to_string().contains("belongs to uid 4000001"), "{error:#}");
    }

    #[test]
    fn a_directory_of_other_things_is_not_taken() {
        if !rustix::process::geteuid().is_root() {
            reckon_e2e::skip(
                "isolation",
                "a_directory_of_other_things_is_not_taken",
                "not root: run it as root",
            );
            return;
        }
        let place = tempfile::tempdir().expect("a temporary directory");
        fs::write(place.path().join("accounts.csv"), "x").expect("write");
        let (directory, account) = take(place.path(), OURS).expect("root's own");
        assert!(give(&directory, account).is_err());
        assert_eq!(fs::metadata(place.path()).expect("stat").uid(), 0);
    }
}
