//! Images built for real, on this host's Python, from the package index.

#![allow(clippy::unwrap_used)]

use std::ffi::OsString;
use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use reckon_sandbox::image::{
    BuildEvent, BuildPhase, Image, ImageBuilder, ImageError, InstallFailure, InstallerChoice, Recipe,
};
use tempfile::TempDir;

/// Three small distributions of the core lock, as a lock of their own.
fn small_recipe() -> Recipe {
    let core = Recipe::core().lock;
    let mut lock = String::new();
    let mut taking = false;
    for line in core.lines() {
        if !line.starts_with([' ', '#']) {
            taking = ["six==", "cycler==", "pytz=="].iter().any(|name| line.starts_with(name));
        }
        if taking {
            lock.push_str(line);
            lock.push('\n');
        }
    }
    assert_eq!(lock.matches("==").count(), 3, "{lock}");
    Recipe { name: "small".to_owned(), lock: lock.into() }
}

/// A place for images, with the user's real environment.
struct House {
    directory: TempDir,
    builder: ImageBuilder,
}

impl House {
    /// A place whose installers are kept from test to test.
    fn new(recipe: Recipe) -> Self {
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("image-cache");
        Self::with_cache(recipe, Some(cache))
    }

    fn with_cache(recipe: Recipe, cache: Option<PathBuf>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let images = directory.path().join("images");
        let cache = cache.unwrap_or_else(|| directory.path().join("cache"));
        let mut builder = ImageBuilder::new(images, cache, std::env::vars_os().collect());
        builder.recipe = recipe;
        let mut house = Self { directory, builder };
        // The host's own uv, if there is one, takes no part unless a test says so.
        house.set("PATH", "/usr/bin:/bin");
        house
    }

    fn set(&mut self, name: &str, value: impl Into<OsString>) {
        self.builder.environment.push((name.into(), value.into()));
    }

    /// Points every way to packages at an address where nobody listens.
    fn poison(&mut self) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        self.set("PIP_CONFIG_FILE", "/dev/null");
        self.set("PIP_INDEX_URL", format!("http://bob:hunter22@127.0.0.1:{port}/simple"));
        self.set("PIP_FIND_LINKS", "");
        self.set("PIP_RETRIES", "1");
        self.set("UV_HTTP_RETRIES", "0");
        self.set("UV_CACHE_DIR", self.directory.path().join("cold-cache"));
        self.set("PIP_NO_CACHE_DIR", "1");
    }

    async fn build(&self) -> (Result<Image, ImageError>, Vec<BuildEvent>) {
        let mut events = Vec::new();
        let image = self.builder.open_or_build(|event| events.push(event)).await;
        (image, events)
    }

    /// What is in the images' directory beside the lock.
    fn contents(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.builder.images_dir).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name != ".lock").collect()
    }

    fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }
}

fn python(image: &Image, code: &str) -> String {
    let output = Command::new(&image.python).args(["-I", "-c", code]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn phases(events: &[BuildEvent]) -> Vec<BuildPhase> {
    let mut phases: Vec<BuildPhase> = events.iter().map(|event| event.phase).collect();
    phases.dedup();
    phases
}

#[tokio::test]
async fn the_default_image_is_built_with_a_fetched_uv_and_opened_offline() {
    let mut house = House::with_cache(Recipe::core(), None);
    // What would lead a naive build astray must not.
    house.set("PYTHONPATH", "/nonexistent");
    house.set("PIP_USER", "1");
    house.set("UV_TARGET", "/nonexistent");
    let (image, events) = house.build().await;
    let image = image.unwrap();

    assert_eq!(image.builder, "uv");
    assert!(events.is_sorted_by(|one, other| one.fraction <= other.fraction), "{events:?}");
    assert!((events.last().unwrap().fraction - 1.0).abs() < f64::EPSILON);
    let seen = phases(&events);
    for phase in [
        BuildPhase::FindPython,
        BuildPhase::FetchInstaller,
        BuildPhase::Download,
        BuildPhase::Compile,
        BuildPhase::Verify,
        BuildPhase::Done,
    ] {
        assert!(seen.contains(&phase), "{phase:?} in {seen:?}");
    }

    let code = "import pandas, numpy, IPython; print(pandas.DataFrame({'a': [1, 2]}).a.sum())";
    assert_eq!(python(&image, code), "3");
    assert!(image.packages["pandas"].starts_with("2."));
    assert_eq!(image.packages["numpy"], python(&image, "import numpy; print(numpy.__version__)"));
    // Bytecode and scripts know the final place, not the one they were made in.
    let file = "import pandas; print(pandas.read_csv.__code__.co_filename)";
    assert!(python(&image, file).starts_with(image.root.to_str().unwrap()));
    let cached = "import numpy, os; print(os.path.exists(numpy.__cached__))";
    assert_eq!(python(&image, cached), "True");
    let ipython = Command::new(image.root.join("env/bin/ipython")).arg("--version").output();
    assert_eq!(String::from_utf8(ipython.unwrap().stdout).unwrap().trim(), image.packages["ipython"]);
    // The rooms see the image, its Python and its libraries.
    let maps = "import numpy; print(*{l.split()[-1] for l in open('/proc/self/maps') if '/' in l})";
    for path in python(&image, maps).split_whitespace().filter(|path| path.starts_with('/')) {
        let visible = image.visible_dirs.iter().any(|directory| Path::new(path).starts_with(directory));
        assert!(visible, "{path} in {:?}", image.visible_dirs);
    }
    let fonts = fs::read_dir(&image.mpl_config_dir).unwrap().count();
    assert_eq!(fonts, 1, "matplotlib's font list");
    assert!(image.size_bytes > 100 << 20);
    assert_eq!(house.contents(), [image.id.as_str()]);

    // Built once, it needs no network and runs nothing.
    house.poison();
    let (again, events) = house.build().await;
    assert_eq!(again.unwrap(), image);
    assert!(events.is_empty(), "{events:?}");
    let fastest = (0..20)
        .map(|_| {
            let since = Instant::now();
            assert!(house.builder.open().is_some());
            since.elapsed()
        })
        .min();
    assert!(fastest.unwrap() < Duration::from_millis(5), "{fastest:?}");
}

#[tokio::test]
async fn pip_builds_the_default_image_too() {
    let mut house = House::new(Recipe::core());
    house.builder.installer = InstallerChoice::Pip;
    house.set("PIP_USER", "1");
    let (image, events) = house.build().await;
    let image = image.unwrap();
    assert_eq!(image.builder, "pip");
    assert!(phases(&events).contains(&BuildPhase::Install));
    assert_eq!(python(&image, "import pandas; print(pandas.__version__)"), image.packages["pandas"]);
    // pip writes the path of the place it installs into, which is not the final one.
    let ipython = Command::new(image.root.join("env/bin/ipython")).arg("--version").output().unwrap();
    assert_eq!(String::from_utf8(ipython.stdout).unwrap().trim(), image.packages["ipython"]);
    let head = fs::read_to_string(image.root.join("env/bin/ipython")).unwrap();
    assert!(!head.contains(".building-"), "{head}");
}

#[tokio::test]
async fn an_interrupted_build_leaves_nothing() {
    for phase in [BuildPhase::Download, BuildPhase::Compile] {
        let house = House::new(Recipe::core());
        let (send, receive) = tokio::sync::oneshot::channel();
        let mut send = Some(send);
        let build = house.builder.open_or_build(|event| {
            if event.phase == phase
                && let Some(send) = send.take()
            {
                send.send(()).unwrap();
            }
        });
        tokio::select! {
            image = build => panic!("it was not interrupted: {image:?}"),
            reached = receive => reached.unwrap(),
        }
        assert!(house.contents().is_empty(), "{:?}", house.contents());
        // The children hold the lock as long as they live.
        let lock = File::open(house.builder.images_dir.join(".lock")).unwrap();
        let since = Instant::now();
        while lock.try_lock().is_err() {
            assert!(since.elapsed() < Duration::from_secs(5), "a child lives on");
            tokio::task::yield_now().await;
        }
        assert!(house.builder.open().is_none());
    }
}

#[tokio::test]
async fn what_a_killed_builder_left_is_swept() {
    let house = House::new(small_recipe());
    let left = house.builder.images_dir.join(".building-1/content/env");
    fs::create_dir_all(&left).unwrap();
    fs::create_dir_all(house.builder.images_dir.join("small-half")).unwrap();
    let image = house.build().await.0.unwrap();
    let mut contents = house.contents();
    contents.sort();
    let mut expected = vec![image.id, "small-half".to_owned()];
    expected.sort();
    assert_eq!(contents, expected);
}

#[tokio::test]
async fn of_two_builders_one_builds_and_one_waits() {
    let house = House::new(small_recipe());
    let ((one, first), (other, second)) = tokio::join!(house.build(), house.build());
    assert_eq!(one.unwrap(), other.unwrap());
    let mut seen = [phases(&first), phases(&second)];
    seen.sort_by_key(Vec::len);
    assert_eq!(seen[0], [BuildPhase::Wait]);
    assert!(seen[1].contains(&BuildPhase::Verify));
}

#[tokio::test]
async fn an_index_that_is_down_is_named_without_credentials() {
    for installer in [InstallerChoice::Auto, InstallerChoice::Pip] {
        let mut house = House::new(small_recipe());
        house.poison();
        house.builder.installer = installer;
        let (image, events) = house.build().await;
        let error = image.unwrap_err();
        let ImageError::Install { cause, tail, .. } = &error else { panic!("{error:?}") };
        assert_eq!(*cause, InstallFailure::Network, "{tail}");
        assert!(error.hint().unwrap().contains("PIP_INDEX_URL"));
        assert!(!format!("{error} {error:?} {events:?}").contains("hunter22"));
        assert!(house.contents().is_empty(), "{:?}", house.contents());
    }
}

#[tokio::test]
async fn a_file_that_is_not_the_locked_one_is_refused() {
    for installer in [InstallerChoice::Auto, InstallerChoice::Pip] {
        let mut recipe = small_recipe();
        let wrong = "0".repeat(64);
        let lock: String = recipe
            .lock
            .lines()
            .map(|line| match line.split_once("sha256:") {
                Some((before, after)) => format!("{before}sha256:{wrong}{}\n", &after[64..]),
                None => format!("{line}\n"),
            })
            .collect();
        recipe.lock = lock.into();
        let mut house = House::new(recipe);
        house.builder.installer = installer;
        let error = house.build().await.0.unwrap_err();
        let ImageError::Install { cause, tail, .. } = &error else { panic!("{error:?}") };
        assert_eq!(*cause, InstallFailure::HashMismatch, "{tail}");
        assert!(house.contents().is_empty(), "{:?}", house.contents());
    }
}

#[tokio::test]
async fn pip_installs_where_uv_fails() {
    let mut house = House::new(small_recipe());
    let uv = house.script(
        "bin/uv",
        "#!/bin/sh\n[ \"$1\" = --version ] && echo 'uv 0.99.0' && exit 0\necho broken >&2\nexit 1\n",
    );
    house.set("PATH", format!("{}:/usr/bin:/bin", uv.parent().unwrap().display()));
    assert_eq!(house.build().await.0.unwrap().builder, "pip");
}

/// A wheel-house and `no-index` in pip's configuration serve both tools.
#[tokio::test]
async fn a_directory_of_wheels_from_pips_configuration_is_enough() {
    for installer in [InstallerChoice::Auto, InstallerChoice::Pip] {
        let mut house = House::new(small_recipe());
        house.builder.installer = installer;
        if installer == InstallerChoice::Auto {
            // With uv in the cache, nothing but the packages is needed.
            House::new(small_recipe()).build().await.0.unwrap();
        }
        let wheels = house.directory.path().join("wheels");
        let lock = house.directory.path().join("small.lock");
        fs::write(&lock, house.builder.recipe.lock.as_bytes()).unwrap();
        let python = reckon_sandbox::image::find_python(None, &house.builder.environment);
        let python = python.await.unwrap().executable;
        let pip = house.directory.path().join("pip");
        let run = |program: &Path, arguments: &[&str]| {
            assert!(Command::new(program).args(arguments).status().unwrap().success());
        };
        run(&python, &["-m", "venv", pip.to_str().unwrap()]);
        let (wheels, lock) = (wheels.to_str().unwrap(), lock.to_str().unwrap());
        run(&pip.join("bin/python"), &["-m", "pip", "download", "-q", "-d", wheels, "-r", lock]);

        house.poison();
        let conf = house.directory.path().join("pip.conf");
        fs::write(&conf, format!("[install]\nno-index = true\nfind-links =\n    {wheels}\n")).unwrap();
        house.builder.environment.retain(|(name, _)| name != "PIP_FIND_LINKS");
        house.set("PIP_CONFIG_FILE", conf);
        let expected = if installer == InstallerChoice::Auto { "uv" } else { "pip" };
        assert_eq!(house.build().await.0.unwrap().builder, expected);
    }
}

#[tokio::test]
async fn a_python_without_installers_says_what_to_install() {
    let mut house = House::new(small_recipe());
    let answer = "{\"executable\":\"/usr/bin/python3\",\"version\":\"3.11.2\",\"major\":3,\
                  \"minor\":11,\"implementation\":\"cpython\",\"cache_tag\":\"\",\"soabi\":\"\",\
                  \"machine\":\"\",\"bits\":64,\"free_threaded\":false,\"base_prefix\":\"/usr\",\
                  \"base_exec_prefix\":\"/usr\",\"stdlib\":\"/usr/lib\",\"platstdlib\":\"/usr/lib\",\
                  \"libpython_dir\":null,\"venv\":true,\"ensurepip\":false,\"pip\":false}";
    let fake = house.script("bin/python3", &format!("#!/bin/sh\ncat <<'END'\n{answer}\nEND\n"));
    house.builder.python = Some(fake);
    let error = house.build().await.0.unwrap_err();
    assert!(matches!(error, ImageError::NoInstaller { .. }), "{error:?}");
    assert!(error.to_string().contains("; run: ") || error.to_string().contains("install"), "{error}");
    assert_eq!(error.to_string().lines().count(), 1);
    assert!(house.contents().is_empty(), "{:?}", house.contents());
}

#[tokio::test]
async fn an_image_whose_python_is_gone_is_not_opened() {
    let house = House::new(small_recipe());
    let image = house.build().await.0.unwrap();
    assert!(house.builder.open().is_some());

    let mut elsewhere = house.builder.clone();
    elsewhere.python = Some("/nonexistent/python3".into());
    assert!(elsewhere.open().is_none(), "another Python was asked for");
    let mut newer = house.builder.clone();
    newer.recipe.lock = format!("{}\n", newer.recipe.lock).into();
    assert!(newer.open().is_none(), "another lock was asked for");

    let links = ["python", "python3"].map(|name| image.root.join("env/bin").join(name));
    for link in links {
        fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink("/nonexistent/python3", &link).unwrap();
    }
    assert!(house.builder.open().is_none());
    // It is built again, in the same place.
    assert_eq!(house.build().await.0.unwrap().root, image.root);
}
