//! What of the host a room sees: the image, and what `policy/visible.policy` names where this host has it; and the
//! files of /etc that are a room's own.

use std::{
    fs,
    path::{Path, PathBuf},
};

use reckon_cage::{
    message::Visible,
    policy::{self, Seen},
};

use crate::{error::EngineError, image::Image};

/// Where a room sees its image, so that no path of the host's people is told inside.
pub(crate) const IMAGE: &str = "/opt/reckon";

/// Returns what rooms of this image see.
pub(crate) fn of_image(image: &Image) -> Result<Vec<Visible>, EngineError> {
    let mut visible = of_system()?;
    visible.push(Visible::Moved(image.root.clone(), PathBuf::from(IMAGE)));
    for directory in &image.visible_dirs {
        if *directory != image.root && !covered(directory, &visible) {
            show(directory, &mut visible);
        }
    }
    Ok(visible)
}

/// Returns what rooms of any image see.
pub(crate) fn of_system() -> Result<Vec<Visible>, EngineError> {
    let mut visible = Vec::new();
    for seen in policy::visible().map_err(|error| EngineError::Warden(error.to_string()))? {
        match seen {
            Seen::Tree(path) => show(&path, &mut visible),
            Seen::Device(path) if path.exists() => visible.push(Visible::Device(path)),
            Seen::Device(_) => {}
        }
    }
    Ok(visible)
}

/// Returns the files of /etc that are the room's own.
pub(crate) fn own_files() -> Vec<(PathBuf, String)> {
    let files = [
        (
            "/etc/passwd",
            "sandbox:x:1000:1000:sandbox:/home/sandbox:/bin/bash\nnobody:x:65534:65534::/:/bin/false\n",
        ),
        ("/etc/group", "sandbox:x:1000:\nnogroup:x:65534:\n"),
        ("/etc/hosts", "127.0.0.1 localhost sandbox\n::1 localhost\n"),
        ("/etc/hostname", "sandbox\n"),
        // Names are looked up in files alone: there is no network.
        ("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n"),
    ];
    files.map(|(path, content)| (PathBuf::from(path), content.to_owned())).into()
}

fn show(path: &Path, visible: &mut Vec<Visible>) {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_symlink() => {
            if let Ok(target) = fs::read_link(path) {
                visible.push(Visible::Link(path.to_owned(), target));
            }
        }
        Ok(_) => visible.push(Visible::Tree(path.to_owned())),
        // What this host does not have, its rooms do not have either.
        Err(_) => {}
    }
}

fn covered(path: &Path, visible: &[Visible]) -> bool {
    visible.iter().any(|entry| matches!(entry, Visible::Tree(tree) if path.starts_with(tree)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_below_a_visible_tree_is_not_shown_twice() {
        let visible = [Visible::Tree("/usr".into())];
        assert!(covered(Path::new("/usr/lib/python3"), &visible));
        assert!(!covered(Path::new("/usrlocal"), &visible));
    }
}
