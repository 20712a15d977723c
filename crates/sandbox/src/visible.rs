//! What of the host a room sees: the image, the system's programs and libraries, and a few files of /etc by list.
//! Never "all but": what is not named here does not exist inside.

use std::{
    fs,
    path::{Path, PathBuf},
};

use reckon_cage::message::Visible;

use crate::image::Image;

/// The system's own trees; on a merged system all but the first are links into it.
const SYSTEM: [&str; 6] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64"];
/// Configuration that programs need and that tells nothing of the host's people.
const CONFIGURATION: [&str; 14] = [
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/fonts",
    "/etc/java-17-openjdk",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/protocols",
    "/etc/python3",
    "/etc/python3.11",
    "/etc/services",
    "/etc/ssl/certs",
];
const DEVICES: [&str; 6] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"];

/// Where a room sees its image, so that no path of the host's people is told inside.
pub(crate) const IMAGE: &str = "/opt/reckon";

/// Returns what rooms of this image see.
pub(crate) fn of_image(image: &Image) -> Vec<Visible> {
    let mut visible = of_system();
    visible.push(Visible::Moved(image.root.clone(), PathBuf::from(IMAGE)));
    for directory in &image.visible_dirs {
        if *directory != image.root && !covered(directory, &visible) {
            show(directory, &mut visible);
        }
    }
    visible
}

/// Returns what rooms of any image see.
pub(crate) fn of_system() -> Vec<Visible> {
    let mut visible = Vec::new();
    for path in SYSTEM.into_iter().chain(CONFIGURATION) {
        show(Path::new(path), &mut visible);
    }
    visible.extend(DEVICES.into_iter().map(PathBuf::from).filter(|path| path.exists()).map(Visible::Device));
    visible
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
