//! Files that go into a sandbox (`-f`) and files that come out of it.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use reckon_sandbox::{RelativePath, Sandbox, WorkspaceFile};

use crate::render::{desk::Desk, saved::OutDir};

/// Files in and out.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Files")]
pub(crate) struct FileOptions {
    /// Attach a file: it is copied into the workspace under its own name. May be repeated.
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Where plots and created files are saved; nothing is ever overwritten there.
    ///
    /// A directory of its own by default, because what code in a sandbox names its files
    /// shall not decide what appears in the current directory.
    #[arg(long, value_name = "DIR", default_value = "reckon-out")]
    out: PathBuf,
}

/// A file to be copied into a workspace.
#[derive(Debug)]
pub(crate) struct Attachment {
    /// Its name there.
    pub(crate) name: RelativePath,
    /// Its content.
    pub(crate) bytes: Vec<u8>,
}

/// The files of a workspace at one moment.
#[derive(Debug)]
pub(crate) struct Listing(Vec<WorkspaceFile>);

/// More than this is not copied out by one command; the sandbox may have filled its disk.
const MOST_BYTES_OUT: u64 = 1024 * 1024 * 1024;

impl FileOptions {
    /// Reads the attached files, before anything is started for them.
    pub(crate) fn read(&self) -> anyhow::Result<Vec<Attachment>> {
        let mut attachments: Vec<Attachment> = Vec::new();
        for path in &self.files {
            let shown = path.display();
            let name = path.file_name().and_then(|name| name.to_str());
            let name = name.with_context(|| format!("attach {shown}: it has no name that can be used"))?;
            let name: RelativePath = name.parse().with_context(|| format!("attach {shown}"))?;
            anyhow::ensure!(
                attachments.iter().all(|other| other.name != name),
                "attach {shown}: another attached file is called {} too",
                name.as_str()
            );
            let bytes = std::fs::read(path).with_context(|| format!("read {shown}"))?;
            attachments.push(Attachment { name, bytes });
        }
        Ok(attachments)
    }

    /// Returns where things are saved.
    pub(crate) fn out_dir(&self) -> OutDir {
        OutDir::new(self.out.clone())
    }
}

impl Listing {
    /// Returns what is in a workspace now.
    pub(crate) async fn of(sandbox: &Sandbox) -> anyhow::Result<Self> {
        Ok(Self(sandbox.files().await?))
    }

    /// Copies out what the code created or changed since, telling each path.
    pub(crate) async fn save_changes(&self, sandbox: &Sandbox, desk: &mut Desk) -> anyhow::Result<()> {
        let mut copied = 0;
        for file in sandbox.files().await? {
            if self.0.contains(&file) || is_hidden(&file.entry.name) {
                continue;
            }
            copied += file.entry.size;
            if copied > MOST_BYTES_OUT {
                desk.note(&format!(
                    "{} and what follows is not copied: it is more than 1 GB",
                    file.entry.name
                ))?;
                break;
            }
            save(sandbox, &file, desk).await?;
        }
        Ok(())
    }
}

async fn save(sandbox: &Sandbox, file: &WorkspaceFile, desk: &mut Desk) -> anyhow::Result<()> {
    let name: RelativePath = file.entry.name.parse()?;
    // A process that still runs may remove or replace a file after the listing.
    let Ok((mut from, _)) = sandbox.open_file(&name).await else {
        return Ok(desk.note(&format!("{} is gone and was not copied", file.entry.name))?);
    };
    let (to, path) = desk.saved().create(&file.entry.name)?;
    let mut to = tokio::fs::File::from_std(to);
    tokio::io::copy(&mut from, &mut to).await.with_context(|| format!("write {}", path.display()))?;
    tokio::io::AsyncWriteExt::flush(&mut to).await.with_context(|| format!("write {}", path.display()))?;
    Ok(desk.note(&format!("saved {}", path.display()))?)
}

/// Names that begin with a dot are for programs, not for people.
fn is_hidden(name: &str) -> bool {
    name.split('/').any(|part| part.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(files: Vec<PathBuf>) -> FileOptions {
        FileOptions { files, out: "out".into() }
    }

    #[test]
    fn two_files_of_one_name_are_refused() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (one, other) = (dir.path().join("a/x.csv"), dir.path().join("b/x.csv"));
        for path in [&one, &other] {
            std::fs::create_dir_all(path.parent().expect("has a parent")).expect("created");
            std::fs::write(path, "1").expect("written");
        }
        assert_eq!(options(vec![one.clone()]).read().expect("read")[0].name.as_str(), "x.csv");
        let error = options(vec![one, other]).read().expect_err("refused");
        assert!(error.to_string().contains("x.csv"), "{error}");
    }

    #[test]
    fn what_has_no_name_or_is_missing_is_named() {
        for path in ["/", "..", "/no/such/file.csv"] {
            let error = options(vec![path.into()]).read().expect_err("refused");
            assert!(format!("{error:#}").contains(path), "{error:#}");
        }
    }
}
