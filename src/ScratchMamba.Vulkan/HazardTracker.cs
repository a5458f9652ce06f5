namespace ScratchMamba.Vulkan;

/// <summary>A range of device addresses that a command reads or writes.</summary>
/// <param name="Begin">Its first address.</param>
/// <param name="End">The address behind it.</param>
/// <param name="Writes">Whether it is written.</param>
/// <param name="IsApart">Whether it is known not to meet accesses since the last barrier: another part of the range was accessed before, with the barrier that this one needs.</param>
internal readonly record struct Access(ulong Begin, ulong End, bool Writes, bool IsApart = false);

/// <summary>
/// Remembers what was accessed since the last barrier, and says when the next command needs one: when it reads what was written, or writes what was
/// read or written. Ranges are compared rather than tensors, so memory may be reused at once for another tensor.
/// </summary>
/// <param name="sequences">How many sequences of commands take turns.</param>
internal sealed class HazardTracker(int sequences = 1)
{
    // Each new access is compared with all of these; a barrier now and then is cheaper than a longer list.
    private const int MostAccesses = 96;

    private readonly List<Access> accesses = [];

    public bool NeedsBarrier(ReadOnlySpan<Access> next)
    {
        if (accesses.Count + next.Length > MostAccesses * sequences)
            return accesses.Count > 0;
        foreach (Access access in next)
        {
            if (access.IsApart)
                continue;
            foreach (Access before in accesses)
            {
                if ((access.Writes || before.Writes) && access.Begin < before.End && before.Begin < access.End)
                    return true;
            }
        }
        return false;
    }

    public void Add(ReadOnlySpan<Access> next) => accesses.AddRange(next);

    public void Clear() => accesses.Clear();
}
