using Microsoft.Win32.SafeHandles;

namespace ScratchMamba.Cli;

/// <summary>
/// The standard output. When it is a pipe that nobody reads any more, as in <c>… | head</c>, the command ends in order, as after Ctrl-C: .NET would throw away what is written and compute on.
/// </summary>
internal static class StandardOutput
{
    /// <summary>Opens it.</summary>
    /// <param name="stop">Cancelled when nobody reads any more.</param>
    public static TextWriter Open(CancellationTokenSource stop)
    {
        if (OperatingSystem.IsWindows() || !Console.IsOutputRedirected)
            return Console.Out;
        var stream = new FileStream(new SafeFileHandle(1, ownsHandle: false), FileAccess.Write, bufferSize: 0);
        // A file is not a pipe, and others may write to it, too: this stream would go by a position of its own.
        return stream.CanSeek ? Console.Out : TextWriter.Synchronized(new StreamWriter(new Pipe(stream, stop)) { AutoFlush = true });
    }

    private sealed class Pipe(Stream pipe, CancellationTokenSource stop) : Stream
    {
        public override bool CanRead => false;

        public override bool CanSeek => false;

        public override bool CanWrite => true;

        public override long Length => throw new NotSupportedException();

        public override long Position { get => throw new NotSupportedException(); set => throw new NotSupportedException(); }

        public override void Write(ReadOnlySpan<byte> buffer)
        {
            try
            {
                pipe.Write(buffer);
            }
            catch (IOException)
            {
                stop.Cancel();
            }
        }

        public override void Write(byte[] buffer, int offset, int count) => Write(buffer.AsSpan(offset, count));

        public override void Flush()
        {
        }

        public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();
    }
}
