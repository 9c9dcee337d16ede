//! Which options set what an error of the library names.

use clap::Command;

/// What messages of the library name, and the option that sets it.
const OPTIONS: [(&str, &str); 36] = [
    ("contest.flops", "flops"),
    ("contest.parameters", "parameters"),
    ("contest.repetitions", "repetitions"),
    ("data.broken_images", "broken-images"),
    ("data.dataset", "dataset"),
    ("data.size", "size"),
    ("data.train_limit", "train-limit"),
    ("data.validation", "validation"),
    ("name the folder of the images", "data"),
    ("name the folder of the images", "download"),
    ("give its folder", "data"),
    ("name the data set to use", "dataset"),
    ("network.repeats", "repeats"),
    ("network.width", "width"),
    ("recipe.batch_size", "batch-size"),
    ("recipe.epochs", "epochs"),
    ("recipe.latency", "latency"),
    ("recipe.learning_rate", "learning-rate"),
    ("recipe.precision", "precision"),
    ("architectures to evaluate first", "first"),
    ("search.median_stopping", "median-stopping"),
    ("search.rungs", "rungs"),
    ("search.rungs.one_in", "promote-one-in"),
    ("reward.targets", "target"),
    ("search.measurement_limits", "limit"),
    ("search.minibatch", "minibatch"),
    ("search.scheduling", "rolling"),
    ("search.seed", "seed"),
    ("search.trials", "trials"),
    ("space.max_layers", "max-layers"),
    ("search and its workers another name", "nats-name"),
    ("use another device", "device"),
    ("unknown device", "device"),
    ("give a larger budget", "budgets"),
    ("give budgets in evaluations", "budgets"),
    ("give budgets in epochs", "budgets"),
];

/// The message, and the options of the command that set what it names, if it names none itself.
pub(crate) fn with_options(message: String, command: Option<&Command>) -> String {
    let Some(command) = command.filter(|_| !message.contains("--")) else { return message };
    let has = |option: &str| command.get_arguments().any(|argument| argument.get_long() == Some(option));
    let named = OPTIONS.iter().filter(|(name, option)| message.contains(name) && has(option));
    let options: Vec<String> = named.map(|(_, option)| format!("--{option}")).collect();
    match options.as_slice() {
        [] => message,
        [option] => format!("{message} (option {option})"),
        several => format!("{message} (options {})", several.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use blockqnn::experiment::{DataConfig, Dataset, Experiment};
    use blockqnn::network::device::parse_device;
    use clap::CommandFactory;

    /// A message as a command prints it.
    fn printed(message: &str, command: &str) -> String {
        let program = crate::cmd::Program::command();
        with_options(message.to_owned(), program.find_subcommand(command))
    }

    #[test]
    fn errors_of_the_library_come_with_the_option_of_the_command() {
        let mut experiment = Experiment::quick();
        let missing = experiment_error(DataConfig { dataset: Dataset::Cifar10, ..experiment.data });
        assert!(printed(&missing, "search").ends_with("name the folder of the images (options --data, --download)"));
        let size = DataConfig { dataset: Dataset::Folder, size: Some(5_000), ..experiment.data };
        assert!(printed(&experiment_error(size), "search").ends_with("from 1 to 4096 (option --size)"));
        experiment.recipe.batch_size = 0;
        let error = experiment.validate().unwrap_err().to_string();
        assert!(printed(&error, "verify").ends_with("(option --batch-size)"), "{error}");
        // A command without the option does not advise it, and a message with an option of its own is complete.
        assert_eq!(printed(&error, "export"), error);
        assert_eq!(printed("data.size is 5: omit --size", "search"), "data.size is 5: omit --size");
        let device = parse_device("abacus").unwrap_err().to_string();
        assert!(printed(&device, "transfer").ends_with("(option --device)"));
    }

    fn experiment_error(data: DataConfig) -> String {
        data.load(None, &mut |_| {}).unwrap_err().to_string()
    }

    #[test]
    fn every_option_exists() {
        let program = crate::cmd::Program::command();
        for (name, option) in OPTIONS {
            // Workers are a feature.
            let exists = program
                .get_subcommands()
                .any(|command| command.get_arguments().any(|argument| argument.get_long() == Some(option)));
            assert!(exists || option == "nats-name", "{name}: --{option}");
        }
    }
}
