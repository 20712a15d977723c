//! What of the host a room sees: the image, and what `policy/visible.policy` names where this host has it; and the
//! files of /etc that are a room's own.

use std::{
    fs,
    path::{Path, PathBuf},
};

use reckon_cage::{
    Without,
    message::Visible,
    policy::{self, Seen},
};

use crate::{error::EngineError, image::Image};

/// Where a room sees its image, so that no path of the host's people is told inside.
pub(crate) const IMAGE: &str = "/opt/reckon";

/// Returns what rooms of this image see.
pub(crate) fn of_image(image: &Image, without: &Without) -> Result<Vec<Visible>, EngineError> {
    let mut visible = of_system(without)?;
    visible.push(Visible::Moved(image.root.clone(), PathBuf::from(IMAGE)));
    for directory in &image.visible_dirs {
        if *directory != image.root && !covered(directory, &visible) {
            show(directory, &mut visible);
        }
    }
    if without.leaves_out("visible list") {
        show_all(&mut visible);
    }
    Ok(visible)
}

/// Shows what a room would see if it were not for the list: every directory of the host's root but those that a room
/// has of its own, and all of /etc.
fn show_all(visible: &mut Vec<Visible>) {
    let own = ["dev", "home", "mnt", "opt", "proc", "run", "tmp", "workspace"];
    for entry in fs::read_dir("/").into_iter().flatten().flatten() {
        let path = entry.path();
        if !own.iter().any(|name| entry.file_name() == *name) && !covered(&path, visible) {
            visible.retain(|shown| !matches!(shown, Visible::Tree(tree) | Visible::Link(tree, _) if tree.starts_with(&path)));
            show(&path, visible);
        }
    }
}

/// Returns what rooms of any image see.
pub(crate) fn of_system(without: &Without) -> Result<Vec<Visible>, EngineError> {
    let mut visible = Vec::new();
    for seen in policy::visible(without).map_err(|error| EngineError::Warden(error.to_string()))? {
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

/// Returns the file by which the image's Python finds its base, less the lines that tell where it lies on the host and
/// who built it there; none where the image has no such file.
pub(crate) fn environment_file(image: &Image) -> Option<(PathBuf, String)> {
    let environment = image.python.parent()?.parent()?;
    let text = fs::read_to_string(environment.join("pyvenv.cfg")).ok()?;
    let inside = Path::new(IMAGE).join(environment.strip_prefix(&image.root).ok()?).join("pyvenv.cfg");
    Some((inside, without_host_paths(&text)))
}

/// `home` is a directory of the system's Python, which rooms see too.
fn without_host_paths(text: &str) -> String {
    let told = ["command", "executable"];
    let kept = |line: &&str| !told.contains(&line.split('=').next().unwrap_or(line).trim());
    text.lines().filter(kept).fold(String::new(), |text, line| text + line + "\n")
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
    fn the_environment_file_tells_no_path_of_the_hosts_people() {
        let text = "home = /usr/bin\nversion = 3.11.2\nexecutable = /usr/bin/python3\ncommand = /usr/bin/python3 -m venv /home/ada/env\n";
        assert_eq!(without_host_paths(text), "home = /usr/bin\nversion = 3.11.2\n");
    }

    #[test]
    fn rooms_of_any_image_see_the_systems_programs() {
        let visible = of_system(&Without::default()).expect("the embedded list");
        assert!(visible.contains(&Visible::Tree("/usr".into())), "{visible:?}");
    }

    #[test]
    fn what_is_below_a_visible_tree_is_not_shown_twice() {
        let visible = [Visible::Tree("/usr".into())];
        assert!(covered(Path::new("/usr/lib/python3"), &visible));
        assert!(!covered(Path::new("/usrlocal"), &visible));
    }
}
