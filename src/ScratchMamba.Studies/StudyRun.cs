using ScratchMamba.Studies.Laboratory;
using ScratchMamba.Studies.Reports;

namespace ScratchMamba.Studies;

/// <summary>Runs studies: does their work, judges, and writes the report.</summary>
public static class StudyRun
{
    private static readonly (string Name, Func<StudyOptions, Subject, Study> Make)[] Known =
    [
        ("collapse", (options, subject) => new CollapseStudy(options, subject)),
        ("retention", (options, subject) => new RetentionStudy(options, subject)),
        ("recall", (options, subject) => new RecallStudy(options, subject)),
        ("cures", (options, subject) => new CureStudy(options, subject)),
        ("forgetting", (options, subject) => new ForgettingStudy(options, subject)),
        ("capacity", (options, subject) => new CapacityStudy(options, subject)),
        ("remembrance", (options, subject) => new RemembranceStudy(options, subject)),
        ("stream", (options, subject) => new StreamStudy(options, subject)),
        ("passkey", (options, subject) => new PasskeyStudy(options, subject, isTrainedOn: true)),
        ("passkey-unseen", (options, subject) => new PasskeyStudy(options, subject, isTrainedOn: false)),
    ];

    /// <summary>The names of all studies, in the order of <c>all</c>.</summary>
    public static IReadOnlyList<string> Names { get; } = [.. Known.Select(study => study.Name)];

    /// <summary>Those that train models of their own, and are not for a model that is given.</summary>
    public static IReadOnlyList<string> Training { get; } = ["forgetting", "capacity", "passkey", "passkey-unseen"];

    /// <summary>Runs studies.</summary>
    /// <param name="names">Their names.</param>
    /// <param name="options">The extent.</param>
    /// <param name="subject">The models.</param>
    /// <param name="folder">Where finished work is kept and looked for, and the report is written.</param>
    /// <param name="command">The command line, for the report; <c>{0}</c> in it is replaced by the study's name.</param>
    /// <param name="scheduler">Does the work.</param>
    /// <param name="cancellation">Ends it; what is finished is kept.</param>
    /// <returns>The results, and the report's path.</returns>
    public static (IReadOnlyList<StudyResult> Results, string Report) Run(
        IReadOnlyList<string> names, StudyOptions options, Subject subject, string folder, string command, Scheduler scheduler, CancellationToken cancellation)
    {
        var store = new Store(folder);
        Study[] studies = [.. names.Select(name => Known.Single(study => study.Name == name).Make(options, subject))];
        Job[] jobs = [.. studies.SelectMany(study => study.Jobs)];
        scheduler.Run(jobs, store, cancellation);
        StudyResult[] results = [.. studies.Select(study => study.Conclude(store, string.Format(null, command, study.Name)))];
        // These say with each figure what models they have.
        string models = names.All(name => name is "capacity" or "passkey" or "passkey-unseen") ? "" : $"{subject.Model}; {subject.Data.Name}; {subject.Seeds}. ";
        Job[] all = [.. WithNeeds(jobs)];
        string lead = $"{models}Intervals cover 95 %: over models where there are several, over prompts where there is one. All of it took {HtmlPage.Duration(all.Sum(job => job.Seconds(store)))} of training and measuring. Made {DateTime.Now:yyyy-MM-dd HH:mm}.";
        return (results, Report.Write(folder, "Beyond the training length", lead, results, Models(all, store)));
    }

    private static IEnumerable<Job> WithNeeds(IEnumerable<Job> jobs)
    {
        var seen = new HashSet<string>();
        var waiting = new Stack<Job>(jobs);
        while (waiting.TryPop(out Job? job))
        {
            if (!seen.Add(job.Settings))
                continue;
            yield return job;
            foreach (Job need in job.Needs)
                waiting.Push(need);
        }
    }

    private static Table Models(IEnumerable<Job> jobs, Store store)
    {
        var table = new Table("models", "folder", "parameters", "training_tokens", "seconds", "tokens_per_second", "peak_bytes", "sha256", "settings");
        foreach (TrainingPlan plan in jobs.OfType<TrainingJob>().Select(job => job.Plan).OrderBy(plan => plan.Settings, StringComparer.Ordinal))
        {
            double seconds = store.Seconds(plan);
            table.Add(Path.GetFileName(store.ModelFolder(plan)), plan.Config.ParameterCount, plan.Tokens, seconds, plan.Tokens / seconds, store.PeakBytes(plan), store.HashOf(plan), plan.Settings);
        }
        return table;
    }
}
