namespace ScratchMamba.Training;

/// <summary>Is told how a training goes: displays, metrics, averages of weights. Called on the training's thread.</summary>
public interface ITrainingObserver
{
    /// <summary>The run is about to make its first step, or to go on after <see cref="TrainingRun.StepsDone"/>: what was noted of later steps no longer counts.</summary>
    void Begun(TrainingRun run)
    {
    }

    /// <summary>A step was made.</summary>
    void Stepped(StepReport report)
    {
    }

    /// <summary>The held-out loss was measured.</summary>
    void Evaluated(long step, Evaluation heldOut)
    {
    }

    /// <summary>A checkpoint is on the disk.</summary>
    void Saved(long step, string folder)
    {
    }

    /// <summary>The run went back to a checkpoint: what was reported of later steps no longer counts.</summary>
    void Returned(long step)
    {
    }

    /// <summary>Something that the user should know of, in one line.</summary>
    void Noticed(long step, string what)
    {
    }

    /// <summary>The run is over: done, stopped or failed.</summary>
    void Ended(TrainingRun run)
    {
    }
}
