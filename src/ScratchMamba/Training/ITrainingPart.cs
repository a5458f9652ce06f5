namespace ScratchMamba.Training;

/// <summary>A part of a training that must be saved for the training to go on exactly as if it had never stopped: an optimizer's moments, carried states, averaged weights.</summary>
public interface ITrainingPart
{
    /// <summary>Its name among the parts of a training; what it saves is filed under it.</summary>
    string Name { get; }

    /// <summary>Hands over all that it needs to go on.</summary>
    void Save(StateWriter state);

    /// <summary>Takes all of that back.</summary>
    /// <exception cref="Checkpoints.CheckpointException">Something is missing or of another shape.</exception>
    void Restore(StateReader state);
}
