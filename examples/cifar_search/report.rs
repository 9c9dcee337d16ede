//! `cifar_search report`: a page, pictures and tables from run folders.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

/// Make a page of one or several runs, finished or still going; nothing in their folders is touched but what you name
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Folders of runs, as --out of a search named them; several are shown side by side
    #[arg(required = true, value_name = "DIR")]
    folders: Vec<PathBuf>,

    /// File for the page, which stands alone [default: report.html in DIR, or in the working folder for several runs]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Folder for every picture as SVG
    #[arg(long, value_name = "FOLDER")]
    svg: Option<PathBuf>,

    /// Folder for every picture as PNG
    #[arg(long, value_name = "FOLDER")]
    png: Option<PathBuf>,

    /// Folder for every series as CSV
    #[arg(long, value_name = "FOLDER")]
    csv: Option<PathBuf>,

    /// Best blocks to draw of each run, at most 100
    #[arg(long, value_name = "N", default_value_t = 6)]
    best: usize,

    /// Write the page again after so many seconds, and have the browser read it again, as long as a search is on
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    watch: Option<u64>,
}

#[cfg(feature = "report")]
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Box<dyn Error>> {
    use blockqnn::report::Report;
    use blockqnn::search::RunFolder;
    use blockqnn::space::block::BlockSpace;

    let out = arguments.out.clone().unwrap_or_else(|| match arguments.folders.as_slice() {
        [folder] => folder.join("report.html"),
        _ => PathBuf::from("report.html"),
    });
    for folder in &arguments.folders {
        // The page tells of it too, and of a folder that is no run the report itself does.
        if let Some(damage) = RunFolder::read::<BlockSpace>(folder).ok().and_then(|history| history.damage) {
            eprintln!("warning: {damage}; the page tells of what comes before");
        }
    }
    loop {
        let mut report = Report::read(&arguments.folders)?.with_best(arguments.best);
        if let Some(seconds) = arguments.watch {
            report = report.with_refresh(seconds);
        }
        report.write_html(&out)?;
        eprintln!("the page is {}", out.display());
        if let Some(folder) = &arguments.svg {
            eprintln!("{} SVGs are in {}", report.write_svg(folder)?, folder.display());
        }
        if let Some(folder) = &arguments.png {
            eprintln!("{} PNGs are in {}", report.write_png(folder)?, folder.display());
        }
        if let Some(folder) = &arguments.csv {
            eprintln!("{} CSV files are in {}", report.write_csv(folder)?, folder.display());
        }
        match arguments.watch {
            Some(seconds) if report.is_running() => std::thread::sleep(std::time::Duration::from_secs(seconds)),
            _ => return Ok(ExitCode::SUCCESS),
        }
    }
}

#[cfg(not(feature = "report"))]
pub(crate) fn run(_arguments: &Arguments) -> Result<ExitCode, Box<dyn Error>> {
    Err("this program was built without reports: run it with `cargo run --release --features report --example \
         cifar_search -- report DIR`"
        .into())
}
