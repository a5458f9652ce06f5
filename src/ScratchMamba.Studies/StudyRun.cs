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
        scheduler.Run(studies.SelectMany(study => study.Jobs), store, cancellation);
        StudyResult[] results = [.. studies.Select(study => study.Conclude(store, string.Format(null, command, study.Name)))];
        // These say with each figure what models they have.
        string models = names.All(name => name is "capacity" or "passkey" or "passkey-unseen") ? "" : $"{subject.Model}; {subject.Data.Name}; {subject.Seeds}. ";
        string lead = $"{models}Intervals cover 95 %: over models where there are several, over prompts where there is one. Made {DateTime.Now:yyyy-MM-dd HH:mm}.";
        return (results, Report.Write(folder, "Beyond the training length", lead, results));
    }
}
