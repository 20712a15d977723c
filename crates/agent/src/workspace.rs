//! The workspace around an execution: which files it made or changed, and the figures it displayed,
//! which are saved so that people get them.

use std::{collections::HashMap, fmt, time::SystemTime};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use reckon_model::Image;
use reckon_protocol::{ExecutionOutcome, FileEntry, MimeBundle};
use reckon_sandbox::{EngineError, RelativePath, Sandbox, WorkspaceFile};

/// Where whole outputs are kept for the model to search; never shown as a file of the user.
pub(crate) const LOGS: &str = ".logs";

/// More figures than this in one execution are shown but not saved.
const MAX_SAVED_FIGURES: usize = 20;

/// The files of a workspace at one moment: size and time of the last change, by name.
pub(crate) type Listing = HashMap<String, (u64, SystemTime)>;

/// A file that an execution made or changed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ChangedFile {
    pub(crate) entry: FileEntry,
    pub(crate) change: Change,
}

/// What happened to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    New,
    Changed,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::New => "new",
            Self::Changed => "changed",
        })
    }
}

/// A figure that was displayed.
#[derive(Debug, Clone)]
pub(crate) struct Figure {
    /// Its place in the results of the outcome.
    pub(crate) result: usize,
    /// The image itself.
    pub(crate) image: Image,
    /// Its width and height in pixels, where its header tells.
    pub(crate) size: Option<(u32, u32)>,
    /// The file of the workspace that holds it, unless it could not be saved.
    pub(crate) saved_as: Option<String>,
}

/// Returns the files that people see; names that begin with a dot are for programs.
pub(crate) async fn list(sandbox: &Sandbox) -> Result<Vec<WorkspaceFile>, EngineError> {
    let mut files = sandbox.files().await?;
    files.retain(|file| !file.entry.name.split('/').any(|part| part.starts_with('.')));
    Ok(files)
}

/// Returns a listing to compare with later.
pub(crate) fn listing(files: &[WorkspaceFile]) -> Listing {
    files.iter().map(|file| (file.entry.name.clone(), (file.entry.size, file.modified))).collect()
}

/// Returns what differs from `before`, in order of names.
pub(crate) fn changes(before: &Listing, now: Vec<WorkspaceFile>) -> Vec<ChangedFile> {
    let mut changed: Vec<ChangedFile> = now
        .into_iter()
        .filter_map(|file| {
            let change = match before.get(&file.entry.name) {
                None => Change::New,
                Some(state) if *state != (file.entry.size, file.modified) => Change::Changed,
                Some(_) => return None,
            };
            Some(ChangedFile { entry: file.entry, change })
        })
        .collect();
    changed.sort_by(|one, other| one.entry.name.cmp(&other.entry.name));
    changed
}

/// Returns the figures of an outcome, each saved as the next free `plot-N` of the workspace.
pub(crate) async fn save_figures(
    sandbox: &Sandbox,
    outcome: &ExecutionOutcome,
    before: &Listing,
) -> Vec<Figure> {
    let mut figures = Vec::new();
    let mut number = 0;
    for (result, bundle) in outcome.results.iter().enumerate() {
        let Some(image) = image_of(bundle) else { continue };
        // What is not base64 is not an image; the sandbox may say what it likes.
        let Ok(bytes) = STANDARD.decode(&image.base64) else { continue };
        let saved_as = if figures.len() < MAX_SAVED_FIGURES {
            let name = next_free(&mut number, extension(&image.mime), before);
            save(sandbox, &name, &bytes).await.then_some(name)
        } else {
            None
        };
        figures.push(Figure { result, size: pixel_size(&bytes), image, saved_as });
    }
    figures
}

fn image_of(bundle: &MimeBundle) -> Option<Image> {
    ["image/png", "image/jpeg"].into_iter().find_map(|mime| {
        // IPython breaks long base64 into lines.
        let base64: String = bundle.get(mime)?.as_str()?.split_ascii_whitespace().collect();
        Some(Image { mime: mime.to_owned(), base64 })
    })
}

fn extension(mime: &str) -> &'static str {
    if mime == "image/jpeg" { "jpg" } else { "png" }
}

fn next_free(number: &mut u32, extension: &str, taken: &Listing) -> String {
    loop {
        *number += 1;
        let name = format!("plot-{number}.{extension}");
        if !taken.contains_key(&name) {
            return name;
        }
    }
}

/// Writes a file of ours into the workspace; the turn goes on without it where that fails.
pub(crate) async fn save(sandbox: &Sandbox, name: &str, bytes: &[u8]) -> bool {
    let Ok(path) = name.parse::<RelativePath>() else { return false };
    match sandbox.write_file(&path, bytes).await {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(sandbox = %sandbox.id(), %error, "could not write into the workspace");
            false
        }
    }
}

/// Reads width and height from the header of a PNG (PNG specification §11.2.2); nothing is decoded.
pub(crate) fn pixel_size(bytes: &[u8]) -> Option<(u32, u32)> {
    let number = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    if !bytes.starts_with(b"\x89PNG\r\n\x1a\n") || bytes.get(12..16) != Some(b"IHDR") {
        return None;
    }
    Some((number(16)?, number(20)?))
}

/// Returns a size as people read it: `7 B`, `1.2 kB`, `23 kB`.
pub(crate) fn size_words(bytes: u64) -> String {
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut size = bytes as f64 / 1000.0;
    for unit in ["kB", "MB", "GB"] {
        if size < 10.0 {
            return format!("{size:.1} {unit}");
        }
        if size < 1000.0 || unit == "GB" {
            return format!("{size:.0} {unit}");
        }
        size /= 1000.0;
    }
    format!("{bytes} B")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn file(name: &str, size: u64, seconds: u64) -> WorkspaceFile {
        WorkspaceFile {
            entry: FileEntry { name: name.into(), size, mime: "text/plain".into(), url: None },
            modified: SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
        }
    }

    #[test]
    fn new_and_changed_files_are_told_apart() {
        let before =
            listing(&[file("same", 1, 1), file("touched", 1, 1), file("grown", 1, 1), file("gone", 1, 1)]);
        let now = vec![file("touched", 1, 2), file("new", 1, 1), file("grown", 2, 1), file("same", 1, 1)];
        let changed: Vec<(String, Change)> =
            changes(&before, now).into_iter().map(|file| (file.entry.name, file.change)).collect();
        let expected = [("grown", Change::Changed), ("new", Change::New), ("touched", Change::Changed)];
        assert_eq!(changed, expected.map(|(name, change)| (name.to_owned(), change)));
    }

    #[test]
    fn a_saved_figure_never_takes_a_name_in_use() {
        let taken = listing(&[file("plot-2.png", 1, 1)]);
        let mut number = 0;
        assert_eq!(next_free(&mut number, "png", &taken), "plot-1.png");
        assert_eq!(next_free(&mut number, "png", &taken), "plot-3.png");
    }

    #[test]
    fn sizes_read_well() {
        let words: Vec<String> =
            [0, 999, 1000, 1234, 12_345, 999_999, 5_000_000, 7_000_000_000].map(size_words).into();
        assert_eq!(words, ["0 B", "999 B", "1.0 kB", "1.2 kB", "12 kB", "1000 kB", "5.0 MB", "7.0 GB"]);
    }

    #[test]
    fn a_png_tells_its_size_and_others_do_not() {
        let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
        png.extend([0, 0, 2, 128, 0, 0, 1, 224]);
        assert_eq!(pixel_size(&png), Some((640, 480)));
        assert_eq!(pixel_size(&png[..20]), None);
        assert_eq!(pixel_size(b"GIF89a"), None);
    }
}
