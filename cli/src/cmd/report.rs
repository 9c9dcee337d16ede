//! `report`: a page, figures and tables from run folders.

use super::Outcome;
use std::path::PathBuf;
#[cfg(feature = "report")]
use std::process::ExitCode;

/// Write an HTML page about one or several runs, finished or still running
///
/// A run itself is only read, and may still be running.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[cfg_attr(not(feature = "report"), allow(dead_code, reason = "without the feature the command only says so"))]
pub(crate) struct Arguments {
    /// Folders of runs, as given to search with --out; several are compared side by side
    #[arg(required = true, value_name = "RUN")]
    folders: Vec<PathBuf>,

    /// File for the page, which needs no other files [default: report.html in RUN, or in the current folder for several
    /// runs]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Also write every figure as SVG into this folder
    #[arg(long, value_name = "FOLDER")]
    svg: Option<PathBuf>,

    /// Also write every figure as PNG into this folder
    #[arg(long, value_name = "FOLDER")]
    png: Option<PathBuf>,

    /// Also write the data of every figure as CSV into this folder
    #[arg(long, value_name = "FOLDER")]
    csv: Option<PathBuf>,

    /// Number of best blocks to draw for each run, at most 100
    #[arg(long, value_name = "N", default_value_t = 6)]
    best: usize,

    /// Rewrite the page every this many seconds while a search is running, and have the browser reload it
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    watch: Option<u64>,
}

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  blockqnn report RUN --watch 60
  blockqnn report RUN OTHER --svg figures --csv tables";

#[cfg(feature = "report")]
pub(crate) fn run(arguments: &Arguments) -> Outcome {
    use blockqnn::report::Report;
    use blockqnn::search::RunFolder;
    use blockqnn::space::block::BlockSpace;

    let out = arguments.out.clone().unwrap_or_else(|| match arguments.folders.as_slice() {
        [folder] => folder.join("report.html"),
        _ => PathBuf::from("report.html"),
    });
    crate::output::refuse_kept(&out)?;
    for folder in &arguments.folders {
        // The page mentions damage too. A folder that is not a run is an error of `Report::read`.
        if let Some(damage) = RunFolder::read::<BlockSpace>(folder).ok().and_then(|history| history.damage) {
            errln!("warning: {damage}; the page shows the trials before the damage");
        }
    }
    loop {
        let mut report = Report::read(&arguments.folders)?.with_best(arguments.best);
        if let Some(seconds) = arguments.watch {
            report = report.with_refresh(seconds);
        }
        report.write_html(&out)?;
        errln!("wrote the page {}", out.display());
        if let Some(folder) = &arguments.svg {
            errln!("wrote {} SVG files to {}", report.write_svg(folder)?, folder.display());
        }
        if let Some(folder) = &arguments.png {
            errln!("wrote {} PNG files to {}", report.write_png(folder)?, folder.display());
        }
        if let Some(folder) = &arguments.csv {
            errln!("wrote {} CSV files to {}", report.write_csv(folder)?, folder.display());
        }
        match arguments.watch {
            Some(seconds) if report.is_running() => std::thread::sleep(std::time::Duration::from_secs(seconds)),
            _ => return Ok(ExitCode::SUCCESS),
        }
    }
}

#[cfg(not(feature = "report"))]
pub(crate) fn run(_arguments: &Arguments) -> Outcome {
    Err("this program was built without the feature report: install it with its default features".into())
}
