using System.Runtime.InteropServices;
using ScratchMamba.Cli;

using var stop = new CancellationTokenSource();
using PosixSignalRegistration interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, Stop), terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, Stop);
return CommandLine.Run(args, StandardOutput.Open(stop), Console.Error, stop.Token);

// The first signal lets the command end in order, or only what it is about; the second one ends the process at once.
void Stop(PosixSignalContext signal)
{
    if (signal.Signal == PosixSignal.SIGINT && Interrupts.Handler?.Invoke() == true)
    {
        signal.Cancel = true;
        return;
    }
    signal.Cancel = !stop.IsCancellationRequested;
    stop.Cancel();
}
